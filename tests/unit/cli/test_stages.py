"""Resolution of container names with `--stage`."""

from devbox.cli.stages import find_replicas

KNOWN = ("db", "router", "web-1-3f2a9c41", "web-2-3f2a9c41", "web-admin-1-3f2a9c41", "migrate-3f2a9c41")


def test_a_container_is_called_by_its_name():
    assert find_replicas("db", KNOWN) == ("db",)
    assert find_replicas("web-2-3f2a9c41", KNOWN) == ("web-2-3f2a9c41",)


def test_a_process_means_all_its_replicas_and_no_others():
    assert find_replicas("web", KNOWN) == ("web-1-3f2a9c41", "web-2-3f2a9c41")
    assert find_replicas("web-admin", KNOWN) == ("web-admin-1-3f2a9c41",)
    assert find_replicas("migrate", KNOWN) == ("migrate-3f2a9c41",)


def test_issue10_8_a_process_has_the_containers_of_its_baseline_as_well():
    known = (*KNOWN, "web-1-3f2a9c41-baseline")
    assert find_replicas("web", known) == ("web-1-3f2a9c41", "web-1-3f2a9c41-baseline", "web-2-3f2a9c41")


def test_what_is_not_there_means_nothing():
    assert find_replicas("worker", KNOWN) == ()
