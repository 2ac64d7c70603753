# goldstream's build. `make help` lists what there is.

GO      ?= go
DESTDIR ?=
PREFIX  ?= /usr/local
SHORT   ?=
JSON    ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
UNITDIR     = $(if $(filter /usr,$(PREFIX)),/usr/lib,/etc)/systemd/system
BASHDIR     = $(PREFIX)/share/bash-completion/completions
ZSHDIR      = $(PREFIX)/share/zsh/site-functions
SYSUSERSDIR = $(if $(filter /usr,$(PREFIX)),/usr/lib/sysusers.d,/etc/sysusers.d)

# The static analyser is run at this version and is no dependency of the program.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := build
.PHONY: build demo demo-lifecycle test test-fast test-crash-long test-lifecycle test-mutants test-models test-power cover test-e2e test-netboot-matrix test-sandbox bench bench-nbd bench-blockstore bench-lifecycle lint fuzz install uninstall deps check-go clean help

build: check-go ## build bin/goldstream, one static binary, and its helper for initramfs images
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/goldstream ./cmd/goldstream
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/goldstream-guest ./cmd/goldstream-guest

demo: deps build ## boot a clone of a real Debian image from the network, from nothing, with times
	$(GO) run ./cmd/demo

demo-lifecycle: deps build ## what becomes of OS volumes when servers and enclosures change, on real volumes; seconds
	$(GO) run ./cmd/demo -only lifecycle

# The race detector makes the model test of the block store ten times slower, so
# that one is shortened under it and runs in full without. The jail's tests look
# at the machine's cgroups and must not run beside other users of jails; they jail
# themselves, where the race detector's runtime misses /proc and says so. That
# requests allocate nothing can only be counted without it.
SHORTENED = ./blockstore
ALONE     = ./jail

test: deps check-go ## go vet and all tests, the race detector on; 2 cores: 15 to 20 minutes
	$(GO) vet ./...
	$(GO) test -timeout 20m $(ALONE)
	$(GO) test -timeout 20m -run AllocateNothing ./nbd
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v -E '/(blockstore|jail)$$')
	$(GO) test -race -short -timeout 20m $(SHORTENED)
	$(GO) test -timeout 20m $(SHORTENED)

test-fast: check-go ## the short tests, without the race detector
	$(GO) test -short -timeout 5m ./...

test-e2e: deps check-go ## a real kernel client whose server dies under load (User-Mode-Linux), and machines that boot from the network (qemu); as root; 6 minutes
	GOLDSTREAM_E2E=1 $(GO) test -count=1 -timeout 45m -v -run TestKernel ./cmd/goldstream-guest
	GOLDSTREAM_E2E=1 $(GO) test -count=1 -timeout 45m -v -run TestNetBoot ./cmd/goldstream

test-netboot-matrix: deps check-go ## what a machine that boots from the network sees of kills, outages and leases; 10 minutes
	GOLDSTREAM_E2E=1 $(GO) test -count=1 -timeout 45m -v -run TestMatrix ./cmd/goldstream

test-sandbox: deps check-go ## attacks from inside a sandbox and from scripts, disks damaged at random, deployments that are killed or fail; 10 minutes
	GOLDSTREAM_SANDBOX=1 $(GO) test -count=1 -timeout 30m -v -run 'Guest|ForkBomb|Inside|Jail|Damaged|Script' ./personalize/sandbox
	GOLDSTREAM_SANDBOX=1 $(GO) test -count=1 -timeout 10m -v ./personalize/runner
	GOLDSTREAM_SANDBOX=1 $(GO) test -count=1 -timeout 30m -v -run 'TestDeploy' ./daemon
	GOLDSTREAM_SANDBOX=1 $(GO) test -count=1 -timeout 10m -v -run 'TestUnit' ./cmd/goldstream

test-crash-long: check-go ## 10,000 seeds of the block store's crash test in each mode; 1 hour
	$(GO) test -run TestCrash -crash.seeds 10000 -timeout 4h -v ./blockstore

test-lifecycle: check-go ## 300 random histories of servers, profiles and enclosures, each ordered pair of events, and a kill at each step of each change; 10 minutes
	$(GO) test -count=1 -timeout 30m ./daemon -run 'TestHistories|TestPairs' -history.seeds 300 -history.pairs
	$(GO) test -count=1 -timeout 30m ./daemon -run TestChangeCrash -crash.all

test-mutants: check-go ## stores and disks that break a promise: each is caught by the crash test within 1,000 seeds
	$(GO) test -count=1 -run 'TestMutants$$' -timeout 30m -v ./blockstore

test-models: check-go ## map records and the reclaimer against plain arrays, 100 seeds; 10 minutes
	$(GO) test -count=1 ./blockstore -run 'TestMapModel|TestReclaimModel' -model.seeds 100 -timeout 1h

cover: deps check-go ## how much of the block store its tests run, in per cent of its statements
	$(GO) test -coverprofile .cover.out -coverpkg ./blockstore -timeout 30m ./blockstore
	@$(GO) tool cover -func .cover.out | awk '$$3+0 < 70 && $$1 != "total:"'
	@$(GO) tool cover -func .cover.out | tail -1; rm -f .cover.out

test-power: deps check-go ## 100 power cuts on ext4 and on XFS, on loop devices (as root); 10 minutes
	unshare --mount $(GO) test ./blockstore -run TestPowerCuts -power.cuts 100 -timeout 2h -v # where no jail or container takes the mounts over

bench: deps build ## measure against peers; SHORT=1 for a quick look
	$(GO) run ./bench $(if $(SHORT),-short) $(if $(JSON),-json '$(JSON)')

bench-blockstore: check-go ## measure what the block store has to reach; SHORT=1; JSON=FILE writes the figures too
	$(GO) run ./bench -only blockstore $(if $(SHORT),-short) $(if $(JSON),-json '$(JSON)')

bench-nbd: deps build ## measure NBD beside nbdkit and qemu-nbd, and 1,000 boots at once, 12 minutes; SHORT=1, JSON=FILE
	$(GO) run ./bench -only nbd,storm $(if $(SHORT),-short) $(if $(JSON),-json '$(JSON)')

bench-lifecycle: deps build ## 1,000 server profiles: deployed, listed, and after a restart; SHORT=1, JSON=FILE
	$(GO) run ./bench -only lifecycle $(if $(SHORT),-short) $(if $(JSON),-json '$(JSON)')

bench-deploy: deps build ## measure deployments beside virt-customize and guestfish (apt-get install libguestfs-tools), 10 minutes; SHORT=1, JSON=FILE
	$(GO) run ./bench -only deploy $(if $(SHORT),-short) $(if $(JSON),-json '$(JSON)')

lint: check-go ## gofmt, go vet, staticcheck, architecture
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt these files:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(if $(wildcard lint_test.go),$(GO) test -count=1 .)
	bash -n testdata/install-packages.sh testdata/golden/build-debian-image.sh .ci/run

fuzz: check-go ## fuzz NBD on both sides, and the readers of images, partition tables and plans, a minute each
	$(GO) test -run '^$$' -fuzz FuzzOpen -fuzztime 60s -fuzzminimizetime 10x ./blockstore/source
	$(GO) test -run '^$$' -fuzz FuzzRead -fuzztime 60s -fuzzminimizetime 10x ./disk
	$(GO) test -run '^$$' -fuzz FuzzExpand -fuzztime 60s -fuzzminimizetime 10x ./personalize/attribute
	$(GO) test -run '^$$' -fuzz FuzzParse -fuzztime 60s -fuzzminimizetime 10x ./personalize/guestfish
	for f in FuzzHandshake FuzzRequests FuzzClientHandshake FuzzClientReplies; do \
		$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 60s -fuzzminimizetime 10x ./nbd || exit 1; done

# What was built is installed as it is: root may have no Go in its path.
install: $(if $(and $(wildcard bin/goldstream),$(wildcard bin/goldstream-guest)),,build) ## install to DESTDIR/PREFIX: binary, systemd unit, user
	install -D -m 0755 bin/goldstream '$(DESTDIR)$(PREFIX)/bin/goldstream'
	install -m 0755 bin/goldstream-guest '$(DESTDIR)$(PREFIX)/bin/goldstream-guest'
	install -d -m 0755 '$(DESTDIR)$(UNITDIR)' '$(DESTDIR)$(SYSUSERSDIR)'
	sed 's|@BINDIR@|$(PREFIX)/bin|' cmd/goldstream/systemd/goldstream.service >'$(DESTDIR)$(UNITDIR)/goldstream.service'
	install -m 0644 cmd/goldstream/systemd/goldstream.conf '$(DESTDIR)$(SYSUSERSDIR)/goldstream.conf'
	install -d -m 0750 '$(DESTDIR)/var/lib/goldstream'
	install -d -m 0755 '$(DESTDIR)$(BASHDIR)' '$(DESTDIR)$(ZSHDIR)'
	bin/goldstream completion bash >'$(DESTDIR)$(BASHDIR)/goldstream'
	bin/goldstream completion zsh >'$(DESTDIR)$(ZSHDIR)/_goldstream'
	@if [ -z '$(DESTDIR)' ]; then sh cmd/goldstream/systemd/after-install.sh; fi

uninstall: ## remove what install put there; data and user stay
	rm -f '$(DESTDIR)$(BASHDIR)/goldstream' '$(DESTDIR)$(ZSHDIR)/_goldstream'
	rm -f '$(DESTDIR)$(PREFIX)/bin/goldstream' '$(DESTDIR)$(PREFIX)/bin/goldstream-guest' '$(DESTDIR)$(UNITDIR)/goldstream.service' '$(DESTDIR)$(SYSUSERSDIR)/goldstream.conf'

deps: ## install the Debian packages that tests and demo need (as root)
	@testdata/install-packages.sh

check-go:
	@testdata/check-go.sh $(GO)

clean: ## remove what was built; the golden image in .cache too
	rm -rf bin .cache

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile
