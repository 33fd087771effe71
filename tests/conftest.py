"""The order of the tests."""

LONGEST = ("test_trust.py", "test_scripts.py", "test_readme.py", "test_distribute.py")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that both processes end together."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
