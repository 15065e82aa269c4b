# Vellum. `make help` lists what there is.

CARGO  ?= cargo
PREFIX ?= /usr/local
# What ends within 15 minutes on two processors: without the best options of peers, and depths between.
BENCH  ?= --peers defaults --rounds 3 --layers 1,32,100 --threads 2 --large 128 --nodes 50000 --max-time 13
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
# where mount(8) looks for its helpers
HELPERDIR ?= /sbin
COMPLETIONS := bash-completion/completions zsh/site-functions fish/vendor_completions.d
TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help deps build demo test check fuzz fuzz-build bench bench-images bench-containers conformance conformance-short install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what is missing on this machine (Debian packages, by apt)
	@scripts/deps.sh build demo test

build: ## the optimised binary, target/release/vellum
	@scripts/deps.sh build
	$(CARGO) build --release --locked

demo: build ## a Debian root in layers, mounted, lived in, unmounted (about 2 minutes at first)
	@scripts/deps.sh demo
	@scripts/demo.sh
	@scripts/demo-image.sh

test: ## every test, real mounts included (root and /dev/fuse); under 20 minutes
	@scripts/deps.sh build test
	@scripts/test.sh

check: ## format, lints, tests, documentation, fuzz targets: all without a warning
	@scripts/deps.sh build test
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@scripts/test.sh
	@# the documentation is for those who work on the code: it may link to what is private
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --no-deps --document-private-items
	@$(MAKE) --no-print-directory fuzz-build

fuzz-build: ## the fuzz targets compile
	@if [ -f fuzz/Cargo.toml ]; then $(CARGO) build --manifest-path fuzz/Cargo.toml; \
	else echo "fuzz-build: this tree has no fuzz targets"; fi

fuzz: ## each fuzz target for FUZZ_SECONDS (60) under AddressSanitizer; TARGETS="index marks" chooses (nightly, cargo-fuzz)
	@scripts/fuzz.sh $(TARGETS)

bench: build ## measure beside the installed peers, as root; 15 minutes (BENCH="--rounds 7" has other options instead)
	@scripts/bench.sh "$(TARGET)/release/vellum" bench --out "$(TARGET)/bench" $(BENCH)

bench-images: build ## what loading and committing images costs, beside podman, containerd, umoci; as root
	@scripts/deps.sh demo bench-images
	@scripts/bench-images.sh

bench-containers: build ## what running, building and starting in containers costs, beside podman and buildah; as root (about 20 minutes)
	@scripts/deps.sh demo bench-containers
	@scripts/bench-containers.sh $(PARTS)

conformance: build ## the public suites, whole, beside plain ext4 and kernel overlayfs (about an hour)
	@scripts/deps.sh conformance
	@scripts/conformance.sh full

conformance-short: build ## the same suites, short (about 10 minutes)
	@scripts/deps.sh conformance
	@scripts/conformance.sh short

install: ## into DESTDIR/PREFIX; ALIAS=1 also as fuse-overlayfs, HELPER=1 also as the helper of mount(8)
	@# not a dependency: under sudo there is often no cargo
	@[ -x "$(TARGET)/release/vellum" ] || $(MAKE) --no-print-directory build
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(MANDIR)/man1" $(COMPLETIONS:%="$(DESTDIR)$(PREFIX)/share/%")
	install -m 755 "$(TARGET)/release/vellum" "$(DESTDIR)$(BINDIR)/vellum"
	ln -sf vellum "$(DESTDIR)$(BINDIR)/vellum-overlayfs"
	$(if $(ALIAS),ln -sf vellum "$(DESTDIR)$(BINDIR)/fuse-overlayfs")
	$(if $(HELPER),install -d "$(DESTDIR)$(HELPERDIR)" && ln -sf "$(BINDIR)/vellum" "$(DESTDIR)$(HELPERDIR)/mount.fuse.vellum")
	"$(TARGET)/release/vellum" man --all "$(DESTDIR)$(MANDIR)/man1"
	"$(TARGET)/release/vellum" completions bash >"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/vellum"
	"$(TARGET)/release/vellum" completions zsh >"$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_vellum"
	"$(TARGET)/release/vellum" completions fish >"$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/vellum.fish"

clean: ## all that was built; the cached Debian root and tools too
	$(CARGO) clean
	rm -rf "$(TARGET)/cache" "$(TARGET)/tools"
