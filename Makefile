# `make demo` and `make test` do all of their own set-up on Debian with Go, git and make; packages are installed as root.
.PHONY: all demo serve test train-test clients voice voice-test check generate fuzz default big drift peak boards deb oci addon apt e2e emulated bench clean
.DELETE_ON_ERROR:

all: bin/bimamba bin/bimambad

bin/bimamba: FORCE
	CGO_ENABLED=0 go build -trimpath -o $@ ./cmd/bimamba
bin/bimambad: FORCE
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $@ ./cmd/bimambad
FORCE:

# On a board without Go: make demo BIMAMBA=path of a program that was built elsewhere.
BIMAMBA = bin/bimamba
demo: $(BIMAMBA)
	@scripts/demo.sh $(BIMAMBA)

# The daemon on the default model, for one's own machine: http://127.0.0.1:11434
serve: bin/bimambad
	bin/bimambad --model models/default.bimamba

test: check
	scripts/test.sh

# The assistant from end to end without a microphone: WAV in, an MQTT broker gets the action, WAV out.
voice: $(BIMAMBA)
	scripts/voice.sh $(BIMAMBA)

# 60 commands and 20 other sentences by three synthetic voices, in silence and in noise: a quarter of an hour.
voice-test: voice
	BIMAMBA_VOICE=. go test -count=1 -run TestVoiceSet -v -timeout 2h ./edge/voice

# The trainer's tests, with PyTorch on a CPU.
train-test:
	scripts/train.sh

# Real clients against the real daemon.
clients:
	scripts/clients.sh

# What needs no test to be wrong.
check:
	scripts/check.sh

generate:
	go generate ./...

# Every fuzz test for FUZZTIME each; the corpora run as seeds in `make test`.
FUZZTIME = 5m
fuzz:
	scripts/fuzz.sh $(FUZZTIME)

# The default model from its checkpoint: make default CHECKPOINT=folder
default: bin/bimamba
	bin/bimamba convert $(CHECKPOINT) --card models/default.toml -o models/default.bimamba --force
	sha256sum < models/default.bimamba | cut -d' ' -f1 > models/default.sha256

# The 2.7B shape through the converter: needs 6 GB of disk and 5 minutes.
big: bin/bimamba
	scripts/big.sh bin/bimamba

# What binary16 states cost after 8,192 tokens of a random 780M model: a few minutes, 240 MB of disk.
drift:
	BIMAMBA_DRIFT=1 go test -count=1 -run TestStateF16Drift -v -timeout 60m ./edge/model

# The memory that `bimamba plan` says against the daemon's peak, also at 780M and 2.7B: some minutes, 0.5 GB of disk, 1.5 GB of memory.
peak:
	BIMAMBA_PEAK=1 go test -count=1 -run "TestPeak|TestMemory" -v -timeout 60m ./boards/plan

# The programs for boards and PCs, in dist/: static, and the same bytes wherever they are built.
boards:
	scripts/boards.sh

# What is handed out, of the programs in dist/: Debian packages, a container image (OCI), an add-on for Home Assistant.
# apt is a repository of the packages, signed by the key of gpg that APT_KEY names.
VERSION = $(shell scripts/version.sh)
MAINTAINER = $(shell git log -1 --format='%an <%ae>')
RELEASE = go run ./internal/release -version '$(word 1,$(VERSION))' -time '$(word 2,$(VERSION))'
deb: boards
	$(RELEASE) -maintainer "$(MAINTAINER)" deb
oci addon: boards
	$(RELEASE) $@
APT_KEY =
apt: deb
	$(RELEASE) -key '$(APT_KEY)' apt

# From a clone to emulated boards that answer, by README.md's words, and through broken versions and power cuts: as root on Debian, an hour.
e2e:
	mkdir -p dist
	bash -o pipefail -c 'scripts/board/e2e.sh 2>&1 | tee dist/e2e.log'

# The commands, the daemon and the package on emulated boards, one after the other: as root on Debian, an hour.
emulated:
	scripts/board/doctor.sh
	scripts/board/daemon.sh
	scripts/board/deb.sh
	scripts/board/image.sh
	scripts/board/image.sh cloud-init
	scripts/board/deploy.sh

# The tables of README.md's performance section, on this machine. Nothing else should run meanwhile.
bench: bin/bimamba
	scripts/bench.sh bin/bimamba

clean:
	rm -rf bin dist
