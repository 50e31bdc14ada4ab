# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test with the tools of the project's own virtualenv.

`ansible-test sanity` makes one virtualenv per test, and bootstraps pip into each from a web server
of the Ansible project. Nothing here may depend on such a download: what the tests need (pylint,
pycodestyle, voluptuous, ...) is pinned with hashes in requirements-dev.txt, so the function that
makes those virtualenvs is replaced by one that names this interpreter. This reaches into the
internals of ansible-core; its version is pinned exactly, and `main` says so when they have moved.
"""

from __future__ import annotations

import sys
import typing as t


def main() -> int:
    """Patch ansible-test, then hand over to it. Returns its exit code."""
    try:
        from ansible_test._internal import main as ansible_test_main
        from ansible_test._internal.commands import sanity
        from ansible_test._internal.host_configs import VirtualPythonConfig

        for name in ("create_sanity_virtualenv", "check_sanity_virtualenv_yaml"):
            getattr(sanity, name)
    except (ImportError, AttributeError) as error:
        print(f"sanity: ansible-test has changed inside ({error}): adapt scripts/sanity_runner.py.", file=sys.stderr)
        return 2

    def this_interpreter(_args: object, python: t.Any, name: str, **_options: object) -> VirtualPythonConfig:
        return VirtualPythonConfig(version=python.version, path=sys.executable)

    def has_libyaml(_python: object) -> bool:
        return True  # PyYAML's wheels carry it

    sanity.create_sanity_virtualenv = this_interpreter
    sanity.check_sanity_virtualenv_yaml = has_libyaml
    ansible_test_main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
