#!/usr/bin/python3
"""Writes the bundles of this directory, as the appliance and its users did.

It knows nothing of the package that reads them. Needs mkfs.vfat (dosfstools)."""
import hashlib, io, json, subprocess, tempfile, zipfile

NULLS = dict(uri=None, category=None, eTag=None, created=None, modified=None, status=None, dependentArtifacts=None)
DATE = (2019, 6, 11, 11, 22, 36)
SCRIPTS = {
    "3f6d1c1e-0000-4000-8000-000000000001": ("site-mount", "general", "# Mounts the system.\nmount /dev/sda /"),
    "3f6d1c1e-0000-4000-8000-000000000002": ("site-host", "deploy",
        "upload -<<END /tmp.sh\n# called @HostName@\necho \"@HostName@\" > ./host\necho \"@Motd:Welcome (here)@, root@@@HostName@\" >> ./host\nEND\n"
        "download /tmp.sh ./tmp.sh\n!source ./tmp.sh\nupload ./host /host\nupload -<<END /secret\n@RootPassword@ @NIC1.ipaddress@\nEND\nrm-f /tmp.sh"),
    "3f6d1c1e-0000-4000-8000-000000000003": ("site-generalize", "capture", "-rm-f /secret\n-rm-f /host\ntouch /ImageStreamerCapture"),
    "3f6d1c1e-0000-4000-8000-000000000004": ("site-unmount", "general", "unmount-all\necho \"ImageStreamerLog: done\""),
}
ATTRIBUTES = [
    dict(name="HostName", description="", value="", constraints='{"helpText":""}', type="hostname"),
    dict(name="Motd", description="Greets", value="Welcome (here)", constraints='{"regex":"","helpText":""}', type="string"),
    dict(name="RootPassword", description="", value="", constraints='{"maxlen":"20","minlen":"6"}', type="password"),
    dict(name="NIC1", description="", value=None, type="nic",
         constraints='{"ipv4static":true,"ipv4dhcp":true,"ipv4disable":false,"parameters":["ipaddress"]}'),
]


def script(key, readonly=False):
    name, kind, text = SCRIPTS[key]
    return dict(NULLS, type="PlanScript", id=key, name=name, description="About " + name, state=None, planType=kind,
                content=text, customAttributes=None, hpProvided=readonly)


def plan(key, name, kind, steps, attributes):
    return dict(NULLS, type="OeBuildPlan", buildPlanid=key, name=name, description="About " + name, hpProvided=False,
                oeBuildPlanType=kind, customAttributes=attributes,
                # Not in order: serial numbers are what counts.
                buildStep=[dict(planScriptUri="/rest/plan-scripts/" + s, serialNumber=str(n), parameters=None,
                                planScriptName=SCRIPTS[s][0]) for n, s in reversed(list(enumerate(steps, 1)))])


def disk():
    with tempfile.NamedTemporaryFile() as f:
        f.truncate(1 << 20)
        subprocess.run(["mkfs.vfat", "--invariant", "-n", "SITE", f.name], check=True, stdout=subprocess.DEVNULL)
        raw = open(f.name, "rb").read()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(zipfile.ZipInfo("0b1c-raw", DATE), raw, zipfile.ZIP_DEFLATED)
    return out.getvalue()


class Unseekable(io.RawIOBase):
    """Makes zipfile write in streaming style, with data descriptors."""
    def __init__(self, path): self.f = open(path, "wb")
    def writable(self): return True
    def write(self, b): return self.f.write(b)


def write(path, entries, sums, digest, itself=False, streaming=True):
    lines = [n + "\t" + digest(b).hexdigest() for n, b in entries]
    if itself:
        lines.append(sums + "\t" + digest(b"something else").hexdigest())
    out = Unseekable(path) if streaming else path
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for n, b in entries + [(sums, ("\n".join(lines) + "\n").encode())]:
            z.writestr(zipfile.ZipInfo(n, DATE), b, zipfile.ZIP_DEFLATED)


def line(v): return json.dumps(v, separators=(",", ":"), ensure_ascii=False).encode()


def manifest(name, readonly): return ("MANIFEST.MF", ("Artifact Name:%s\nDescription:Own artifacts: made for tests\nRead Only:%s\nTime Stamp:2019-06-11T11:22:36.362Z\nArtifact Type:USER" % (name, readonly)).encode())


keys = list(SCRIPTS)
deploy = plan("3f6d1c1e-0000-4000-8000-000000000011", "site-deploy", "deploy", [keys[0], keys[1], keys[3]], ATTRIBUTES)
capture = plan("3f6d1c1e-0000-4000-8000-000000000012", "site-capture", "capture", [keys[0], keys[2], keys[3]], [])
image = dict(NULLS, type="GoldenImage", id="3f6d1c1e-0000-4000-8000-000000000021", name="Site disk 1.0", description="A small disk", state=None,
             readOnly=False, importedFromBundle=True, bundleName="site-linux", artifactBundleCategory="artifact-bundles", imageCapture=False,
             bundleURI="/ci/data/i3s/artifactsbundle/3f6d1c1e", checkSum=None, size=0, osVolumeURI=None, buildPlanUri=None)
deployment = dict(NULLS, type="OEDeploymentPlan", id="3f6d1c1e-0000-4000-8000-000000000031", name="site-web", description="Web servers", state=None,
                  hpProvided=False, importMetadata=False, goldenImageURI="Site disk 1.0", oeBuildPlanURI="site-deploy",
                  customAttributes=[dict(a, id=str(n), editable=a["name"] != "Motd", visible=a["name"] != "Motd",
                                         value="Hello" if a["name"] == "Motd" else a["value"]) for n, a in enumerate(ATTRIBUTES)])
empty = dict(deployment, id="3f6d1c1e-0000-4000-8000-000000000032", name="site-empty", goldenImageURI=None, oeBuildPlanURI="site-deploy",
             customAttributes=[dict(name="VolumeSize", type="number", value="64", constraints='{"unit":"MiB"}', description="", id="1", editable=False, visible=True)])

scripts = [(k + "_planscript.json", line(script(k, k == keys[0]))) for k in keys]
plans = [(p["buildPlanid"] + "_buildplan.json", line(p)) for p in (deploy, capture)]
deployments = [(d["id"] + "_deploymentplan.json", line(d)) for d in (deployment, empty)]
images = [(image["id"] + "_goldenimage.json", line(image)), (image["name"], disk())]
write("site-linux.zip", scripts + images + plans + deployments + [manifest("site-linux", "false")], "SHA256SUM.sha256sum", hashlib.sha256)
write("site-old.zip", scripts + plans + [manifest("site-old", "true")], "SHA1SUM.sha1sum", hashlib.sha1, itself=True, streaming=False)
