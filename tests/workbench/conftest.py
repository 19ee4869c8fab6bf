from tests.store_fixtures import *  # noqa: F403
