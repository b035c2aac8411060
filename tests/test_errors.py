"""What several rooms say of inputs and of the machine they are on."""

import sys

from q2_aam.errors import missing_package


def test_the_first_package_that_is_not_installed_is_found_without_importing_any():
    loaded = set(sys.modules)
    assert missing_package(('json', 'wsgiref', 'no_such_package', 'none_such')) == 'no_such_package'
    assert missing_package(('json', 'wsgiref')) is None and missing_package(()) is None
    assert set(sys.modules) == loaded
