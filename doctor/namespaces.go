package doctor

import "context"

// namespaces are what a jail is made of. The trial tells whether they work; the
// settings tell why not.
func namespaces(ctx context.Context, h Host) Finding {
	const check, use = "namespaces", "jails: converting images, and sandboxes"
	err := h.TryNamespaces(ctx)
	if err == nil {
		return fine(check, "user and mount namespaces, and programs on tmpfs")
	}
	for _, s := range []struct{ path, bad, cure string }{
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for goldstream that has userns"},
	} {
		if v, there := setting(h, s.path); there && v == s.bad {
			return lacks(Missing, check, err.Error()+"; "+s.path+" is "+v, use, s.cure)
		}
	}
	return lacks(Missing, check, err.Error(), use, "run goldstream on a host, or in a container that may make namespaces")
}
