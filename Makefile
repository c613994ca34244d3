# Two commands do everything on a fresh machine: `make bench` and `make test`.
.PHONY: bench test test-long check setup clean

bench: setup
	scripts/bench

test: setup
	scripts/test

test-long: setup
	scripts/test -m "slow or not slow"

check: setup
	scripts/check

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt scripts/setup
	scripts/setup

clean:
	rm -rf .venv build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
