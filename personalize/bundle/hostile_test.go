package bundle

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
)

func decode(t *testing.T, f *zip.File, into any) {
	t.Helper()
	r, err := f.Open()
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, json.NewDecoder(r).Decode(into))
}

// entry is one of a bundle that is made for a test.
type entry struct {
	zip.FileHeader
	text string
}

func file(name, text string) entry {
	return entry{zip.FileHeader{Name: name, Method: zip.Deflate}, text}
}

func script(id, name string) entry {
	return file(id+"_planscript.json", fmt.Sprintf(`{"id":%q,"name":%q,"planType":"general","content":"echo x"}`, id, name))
}

// pack makes an archive, and with sums a list of right checksums.
func pack(t testing.TB, sums bool, entries ...entry) []byte {
	t.Helper()
	var list strings.Builder
	for _, e := range entries {
		digest := sha256.Sum256([]byte(e.text))
		fmt.Fprintf(&list, "%s\t%s\n", e.Name, hex.EncodeToString(digest[:]))
	}
	if sums {
		entries = append(entries, file(sha256Name, list.String()))
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, e := range entries {
		w, err := z.CreateHeader(&e.FileHeader)
		require.NoError(t, err)
		_, err = io.WriteString(w, e.text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return out.Bytes()
}

// TestOpenRefuses what is no bundle, damaged or made to do harm, and says why.
func TestOpenRefuses(t *testing.T) {
	good := load(t, "site-linux.zip")
	link := script("1", "one")
	link.SetMode(fs.ModeSymlink | 0o777)
	encrypted := script("1", "one")
	encrypted.Flags |= 1
	build := func(steps string) entry {
		return file("b_buildplan.json", `{"buildPlanid":"b","name":"b","oeBuildPlanType":"deploy","buildStep":[`+steps+`]}`)
	}
	many := make([]entry, maxEntries+1)
	for i := range many {
		many[i] = file(fmt.Sprint(i), "")
	}
	wide := make([]entry, 80)
	for i := range wide { // names of 64 KiB fill the directory
		wide[i] = file(strings.Repeat(string(rune('a'+i%26)), 65000)+fmt.Sprint(i), "")
	}
	cases := map[string]struct {
		bundle []byte
		says   string
	}{
		"empty":          {nil, "no ZIP archive"},
		"text":           {[]byte("hello, world"), "no ZIP archive"},
		"cut off":        {good[:len(good)-200], "no ZIP archive"},
		"no artifacts":   {pack(t, false, file("readme", "x")), "none of its 1 entries"},
		"traversal":      {pack(t, false, script("1", "one"), file("../../etc/passwd", "x")), "without folders"},
		"backslashes":    {pack(t, false, script("1", "one"), file(`..\x`, "x")), "without folders"},
		"absolute":       {pack(t, false, script("1", "one"), file("/etc/passwd", "x")), "without folders"},
		"dots":           {pack(t, false, script("1", "one"), file("..", "x")), "without folders"},
		"link":           {pack(t, false, link), "is no file"},
		"encrypted":      {pack(t, false, encrypted), "encrypted"},
		"same entry":     {pack(t, false, script("1", "one"), script("1", "one")), "two entries"},
		"same name":      {pack(t, false, script("1", "one"), script("2", "one")), `called "one"`},
		"no name":        {pack(t, false, script("1", "")), "has no name"},
		"other ID":       {pack(t, false, file("1_planscript.json", `{"id":"2","name":"x","planType":"general"}`)), "both must be the same"},
		"no object":      {pack(t, false, file("1_planscript.json", `[1]`)), "no object of its kind"},
		"wrong type":     {pack(t, false, file("1_planscript.json", `{"id":"1","name":7}`)), "no object of its kind"},
		"deep":           {pack(t, false, file("1_planscript.json", `{"uri":`+strings.Repeat("[", 1<<20))), "no object of its kind"},
		"no plan type":   {pack(t, false, file("1_planscript.json", `{"name":"x","planType":"boot","content":""}`)), `has the type "boot"`},
		"bad script":     {pack(t, false, file("1_planscript.json", `{"name":"x","planType":"deploy","content":"upload -<<END /x\nnever ends"}`)), "END"},
		"bad serial":     {pack(t, false, script("1", "one"), build(`{"planScriptName":"one","serialNumber":"first"}`)), "no serial number"},
		"empty step":     {pack(t, false, build(`{"serialNumber":"1"}`)), "names no plan script"},
		"capture script": {pack(t, false, file("1_planscript.json", `{"name":"c","planType":"capture","content":""}`), build(`{"planScriptName":"c","planScriptUri":"/rest/plan-scripts/1","serialNumber":1}`)), "takes scripts of types deploy and general"},
		"undeclared":     {pack(t, false, file("1_planscript.json", `{"name":"c","planType":"deploy","content":"echo @Who@"}`), build(`{"planScriptUri":"/rest/plan-scripts/1","serialNumber":1}`)), `declares no attribute "Who"`},
		"bomb":           {pack(t, false, file("1_planscript.json", strings.Repeat(" ", maxText+1))), "too much for what it is"},
		"manifest bomb":  {pack(t, false, script("1", "one"), file(manifestName, strings.Repeat("x", maxManifest+1))), "too much for what it is"},
		"many entries":   {pack(t, false, many...), "at most 4096"},
		"wide directory": {pack(t, false, wide...), "far more than"},
		"wrong digest":   {pack(t, false, script("1", "one"), file(sha256Name, "1_planscript.json\t"+strings.Repeat("0", 64))), "was changed"},
		"no digest":      {pack(t, false, script("1", "one"), file(sha256Name, "1_planscript.json")), "no name and digest"},
		"short digest":   {pack(t, false, script("1", "one"), file(sha256Name, "1_planscript.json\t00")), "no name and digest"},
		"added":          {pack(t, false, script("1", "one"), script("2", "two"), file(sha256Name, sumOf(script("1", "one")))), "was added to the bundle later"},
		"removed":        {pack(t, false, script("1", "one"), file(sha256Name, sumOf(script("1", "one"))+sumOf(script("2", "two")))), "is not in the bundle"},
		"long name":      {pack(t, false, script("1", strings.Repeat("x", maxName+1))), "has a name of 129 bytes"},
		"long text":      {pack(t, false, file("1_planscript.json", `{"name":"x","planType":"general","description":"`+strings.Repeat("x", maxDescription+1)+`"}`)), "a description of 4097"},
		"long step":      {pack(t, false, build(`{"planScriptName":"`+strings.Repeat("x", maxName+1)+`","serialNumber":1}`)), "names a script by 129 bytes"},
		"long manifest":  {pack(t, false, script("1", "one"), file(manifestName, "Artifact Name:"+strings.Repeat("x", maxName+1))), "has a name of 129 bytes"},
		"bad time":       {pack(t, true, script("1", "one"), file(manifestName, "Time Stamp:yesterday")), `has the time "yesterday"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := open(c.bundle)
			require.ErrorIs(t, err, attribute.ErrInvalid)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func sumOf(e entry) string {
	digest := sha256.Sum256([]byte(e.text))
	return e.Name + "\t" + hex.EncodeToString(digest[:]) + "\n"
}

// TestOpenBoundsAll bounds what all entries unpack to together.
func TestOpenBoundsAll(t *testing.T) {
	text := pack(t, false, script("1", "one"), script("2", "two"), script("3", "three"))
	one := int64(len(script("1", "one").text))
	_, err := openWithin(bytes.NewReader(text), int64(len(text)), 2*one)
	require.ErrorContains(t, err, "too much for what it is")
	_, err = openWithin(bytes.NewReader(text), int64(len(text)), 4*one)
	require.NoError(t, err)
}

// TestOpenAllErrors names all that is wrong at once.
func TestOpenAllErrors(t *testing.T) {
	_, err := open(pack(t, false, file("1_planscript.json", `{"name":"x","planType":"deploy","content":"frob"}`), file("2_planscript.json", `{"name":"y","planType":"deploy","content":"mount"}`)))
	require.ErrorContains(t, err, "frob")
	require.ErrorContains(t, err, "mount")
}

// TestOpenWarns of what is passed over.
func TestOpenWarns(t *testing.T) {
	b := opened(t, pack(t, false, script("1", "one"), file("__MACOSX/._x", "x"), file("stray", "x")))
	text := strings.Join(b.Warnings, "\n")
	for _, want := range []string{"__MACOSX", `"stray" is passed over`, "no list of checksums", "no MANIFEST.MF"} {
		require.Contains(t, text, want)
	}
}

// TestContentsAreBounded: what a record tells of a bundle does not grow with how often
// it says the same, nor without end with what is passed over.
func TestContentsAreBounded(t *testing.T) {
	one := `{"planScriptName":"one","serialNumber":1}`
	entries := []entry{script("1", "one"), file("b_buildplan.json", `{"name":"b","oeBuildPlanType":"deploy","buildStep":[`+strings.Repeat(one+",", 255)+one+`]}`)}
	for i := range 100 {
		entries = append(entries, file(fmt.Sprintf("%03d%s", i, strings.Repeat("x", 1000)), ""))
	}
	b := opened(t, pack(t, false, entries...))
	require.Len(t, b.Builds[0].Steps, 256)
	require.Equal(t, []string{"one"}, b.Artifacts()[1].Uses)
	require.Len(t, b.Warnings, maxWarnings+1)
	require.Less(t, len(strings.Join(b.Warnings, "")), 10<<10)
}

// TestDamagedPayload is found when the disk is read, and only then.
func TestDamagedPayload(t *testing.T) {
	image := file("1_goldenimage.json", `{"name":"disk"}`)
	b := opened(t, pack(t, false, image, file("disk", "changed"), file(sha256Name, sumOf(image)+sumOf(file("disk", "as it was")))))
	require.ErrorContains(t, b.Verify(), `"disk" is damaged or was changed`)
}

// TestMissingPayload is an error of who wants it.
func TestMissingPayload(t *testing.T) {
	b := opened(t, pack(t, true, file("1_goldenimage.json", `{"name":"disk"}`)))
	require.False(t, b.Images[0].HasPayload())
	_, _, err := b.OpenImage(b.Images[0])
	require.ErrorIs(t, err, attribute.ErrInvalid)
}

// FuzzOpen has no bundle crash the reader, and what it accepts can be written and
// read again.
func FuzzOpen(f *testing.F) {
	f.Add(load(f, "site-linux.zip"))
	f.Add(load(f, "site-old.zip"))
	f.Add(pack(f, true, script("1", "one"), file(manifestName, "Artifact Name:x")))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := open(text)
		if err != nil {
			return
		}
		var out bytes.Buffer
		w := NewWriter(&out, b.Manifest)
		for _, s := range b.Scripts {
			require.NoError(t, w.Script(s))
		}
		require.NoError(t, w.Close())
		if len(b.Scripts) > 0 {
			require.Equal(t, b.Scripts, opened(t, out.Bytes()).Scripts)
		}
	})
}
