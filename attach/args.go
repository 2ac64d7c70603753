package attach

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Config says what to attach where.
type Config struct {
	Device  string // /dev/nbdN
	Index   int    // N
	Network string // tcp or unix
	Address string // host:port, or a path
	Export  string

	Connections int           // at most; 1 where the server has no multi-conn
	Timeout     time.Duration // after which the kernel takes a connection for dead that owes an answer
	Dead        time.Duration // that requests wait for a new connection before they fail
	ReadAheadKB int
	MaxKB       int // of one request
	Foreground  bool
}

// Usage is the help of the commands.
const Usage = `attach [FLAGS] DEVICE --server HOST[:PORT]|unix:PATH --export NAME
attach [FLAGS] HOST [PORT] DEVICE -N NAME        as nbd-client; its flags
   -swap, -persist, -systemd-mark and -nofork are accepted

  --export-file FILE  the export's name, where it is a secret: the file may go then
  --connections N     sockets that share the load (4)
  --timeout TIME      an answer that takes longer means a dead connection (10s);
                      it grows up to 45s while the server is there but late
  --dead TIME         how long requests wait for the server before they fail (24h)
  --read-ahead KIB    of the device (1024)
  --max-request KIB   longest request (1024)
  --foreground        stay, instead of leaving a keeper in the background
`

const defaultPort = "10809"

// parsed is what the words of a command line said.
type parsed struct {
	Config
	server string
	action string // attach, detach or check
	words  []string
}

// aliases are the flags by each of their names, nbd-client's among them.
var aliases = map[string]string{
	"server": "server", "export-file": "export-file", "export": "export", "N": "export", "name": "export",
	"connections": "connections", "C": "connections", "timeout": "timeout", "t": "timeout",
	"dead": "dead", "read-ahead": "read-ahead", "max-request": "max-request",
	"b": "block-size", "block-size": "block-size",
	"foreground": "foreground", "nofork": "foreground", "n": "foreground",
	"swap": "", "s": "", "persist": "", "p": "", "systemd-mark": "", "m": "", "L": "", "nonetlink": "",
	"d": "detach", "disconnect": "detach", "c": "check", "check": "check",
	"x": "tls", "enable-tls": "tls", "tls": "tls", "F": "tls", "certfile": "tls", "K": "tls", "keyfile": "tls", "A": "tls", "cacertfile": "tls",
}

// needsValue are the flags that have one.
var needsValue = map[string]bool{"server": true, "export": true, "export-file": true, "connections": true, "timeout": true, "dead": true,
	"read-ahead": true, "max-request": true, "block-size": true}

// parse reads the arguments of attach, in goldstream's form or in nbd-client's.
func parse(args []string) (*parsed, error) {
	p := &parsed{action: "attach", Config: Config{Connections: 4, Timeout: 10 * time.Second, Dead: 24 * time.Hour,
		ReadAheadKB: 1024, MaxKB: 1024}}
	for i := 0; i < len(args); i++ {
		word := args[i]
		if !strings.HasPrefix(word, "-") || word == "-" {
			p.words = append(p.words, word)
			continue
		}
		name, value, has := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
		flag, known := aliases[name]
		if !known {
			return nil, fmt.Errorf("there is no flag %s", word)
		}
		if needsValue[flag] && !has {
			if i++; i == len(args) {
				return nil, fmt.Errorf("%s needs a value", word)
			}
			value = args[i]
		}
		if err := p.set(flag, value); err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
	}
	return p, p.settle()
}

func (p *parsed) set(flag, value string) (err error) {
	switch flag {
	case "server":
		p.server = value
	case "export":
		p.Export = value
	case "export-file":
		p.Export, err = readExport(value)
	case "connections":
		p.Connections, err = number(value, 1, 16)
	case "timeout":
		p.Timeout, err = seconds(value)
	case "dead":
		p.Dead, err = seconds(value)
	case "read-ahead":
		p.ReadAheadKB, err = number(value, 0, 1<<20)
	case "max-request":
		p.MaxKB, err = number(value, 4, 32<<10)
	case "block-size": // of the server, 512 where it does not say
		_, err = number(value, 512, 4096)
	case "foreground":
		p.Foreground = true
	case "detach", "check":
		p.action = flag
	case "tls":
		err = fmt.Errorf("the kernel's NBD client has no TLS: use a listener without, on a network of the servers alone")
	}
	return err
}

// readExport reads a name that shall not stand in the list of processes.
func readExport(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const most = 4096 // of a name: proto, "Terminology and conventions"
	p, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", err
	}
	name := strings.TrimSuffix(string(p), "\n")
	if name == "" || len(name) > most {
		return "", fmt.Errorf("%s has no export name of 1 to %d bytes", file, most)
	}
	return name, nil
}

func number(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is no number from %d to %d", s, least, most)
	}
	return n, nil
}

// seconds reads 10s, 5m and, as nbd-client does, 10.
func seconds(s string) (time.Duration, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no time: write 10s or 5m", s)
	}
	return (d + time.Second - 1).Truncate(time.Second), nil
}

// settle makes sense of the words that are no flags.
func (p *parsed) settle() (err error) {
	words, port := p.words, defaultPort
	if p.action == "attach" && p.server == "" {
		if len(words) < 2 {
			return fmt.Errorf("say which server and which device")
		}
		p.server, words = words[0], words[1:]
		if len(words) == 2 {
			port, words = words[0], words[1:]
		}
	}
	if len(words) != 1 {
		return fmt.Errorf("say which device, one /dev/nbdN")
	}
	p.Device = words[0]
	if p.Index, err = deviceIndex(p.Device); err != nil || p.action != "attach" {
		return err
	}
	if p.Export == "" {
		return fmt.Errorf("say which export: --export NAME")
	}
	p.Network, p.Address, err = splitServer(p.server, port)
	return err
}

func splitServer(server, port string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		return "unix", path, nil
	}
	server = strings.TrimPrefix(server, "nbd://")
	host, own, err := net.SplitHostPort(server)
	if err != nil { // no port in it
		host, own = strings.Trim(server, "[]"), port
	}
	if _, err := number(own, 1, 65535); err != nil || host == "" {
		return "", "", fmt.Errorf("server %q is no HOST:PORT", server)
	}
	return "tcp", net.JoinHostPort(host, own), nil
}

func deviceIndex(device string) (int, error) {
	digits, ok := strings.CutPrefix(strings.TrimPrefix(device, "/dev/"), "nbd")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no NBD device: they are /dev/nbd0, /dev/nbd1 …", device)
	}
	return n, nil
}
