"""The faults that a fleet must survive, and the tests that bring each of them about: a table that names what exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FAULTS = {
    "terraform or mlb killed at any moment": [
        "infra/test_random_ends.py::test_a_few_random_ends",
        "infra/test_random_ends.py::test_many_random_ends_on_aws",
        "infra/test_parts.py::test_an_orphan_of_a_killed_mlb_is_stopped_and_the_lock_comes_free",
        "infra/test_faults.py::test_a_killed_terraform_leaves_no_lock_in_the_bucket",
        "infra/test_gcs_state.py::test_the_lock_of_a_killed_terraform_is_given_back_and_anothers_is_not",
    ],
    "a machine is in the state, but not ready": [
        "infra/test_aws.py::test_a_machine_in_between_and_a_missing_gpu_are_seen",
        "infra/test_parts.py::test_a_failure_after_the_machines_are_there_says_that_they_are",
    ],
    "no capacity for node 3 of 4": [
        "infra/test_aws.py::test_no_capacity_on_node_three_moves_the_fleet_to_the_next_zone",
        "infra/test_gcp.py::test_no_capacity_on_node_three_moves_the_fleet_to_the_next_zone",
        "infra/test_aws.py::test_no_capacity_anywhere_leaves_nothing",
    ],
    "the provider waits for capacity without end": [
        "infra/test_docker_faults.py::test_a_machine_that_never_comes_is_given_up_at_our_deadline",
        "infra/test_terraform.py::test_the_deadline_ends_it_and_the_state_is_kept",
        "infra/test_process.py::test_the_deadline_is_kept_against_one_that_will_not_go",
    ],
    "a quota is short by 8 vCPUs": [
        "infra/test_aws.py::test_refusals_before_anything_is_written",
        "infra/test_gcp.py::test_refusals_before_anything_is_created",
    ],
    "credentials expire on the way": [
        "infra/test_faults.py::test_credentials_that_expire_while_machines_are_made",
        "infra/test_gcp.py::test_credentials_that_expire_while_destroying",
    ],
    "two commands at once on one fleet": [
        "infra/test_docker_faults.py::test_a_second_command_says_who_works_on_the_fleet",
        "infra/test_parts.py::test_the_lock_names_its_holder",
    ],
    "destroy while a run uses the fleet": [
        "infra/test_docker.py::test_a_run_keeps_its_fleet_until_it_ends_or_force_is_used",
        "cli/test_infra_force.py::test_a_run_is_saved_before_its_fleet_is_destroyed",
    ],
    "ctrl-C once and twice, SIGTERM, a closed terminal": [
        "infra/test_docker_faults.py::test_ctrl_c_at_each_step",
        "infra/test_aws.py::test_ctrl_c_once_cleans_up_and_twice_leaves_with_a_list",
        "infra/test_gcp.py::test_ctrl_c_cleans_up",
        "infra/test_cli.py::test_sigterm_ends_an_apply_in_good_order",
        "infra/test_parts.py::test_a_terminal_that_is_gone_ends_nothing",
    ],
    "the state or the record is damaged or gone": [
        "infra/test_docker_faults.py::test_a_state_that_is_gone_or_damaged_makes_nothing_twice",
        "infra/test_docker.py::test_destroy_without_a_record_or_with_a_damaged_one",
        "infra/test_aws.py::test_a_lost_record_and_state_still_allow_to_destroy_by_tag",
        "infra/test_gcp.py::test_a_lost_record_and_state_still_allow_to_destroy_by_label",
    ],
    "wrong GPUs, a driver that does not fit": [
        "infra/test_aws.py::test_a_machine_in_between_and_a_missing_gpu_are_seen",
        "infra/test_readiness.py::test_what_a_node_says_of_itself",
        "infra/test_readiness.py::test_what_the_probe_makes_of_a_driver",
    ],
    "a bad node among good ones, to be replaced": [
        "infra/test_replace_docker.py::test_nodes_that_go_bad_later_are_replaced_and_the_good_one_is_not",
        "infra/test_replace_docker.py::test_a_node_that_stays_bad_is_replaced_twice_and_then_named",
        "infra/test_replace_aws.py::test_a_machine_that_lacks_a_gpu_makes_room_for_another",
        "infra/test_replace_aws.py::test_a_machine_that_goes_bad_later_is_replaced_and_the_others_keep_their_ids",
        "infra/test_replace_aws.py::test_a_machine_whose_console_shows_no_host_key_is_replaced",
        "infra/test_gcp.py::test_a_bad_machine_is_replaced_by_one_that_ends_with_the_fleet",
        "infra/test_bad_nodes.py::test_no_more_often_than_that",
    ],
    "something foreign stands in the way of destroy": [
        "infra/test_faults.py::test_what_stands_in_the_way_of_the_end_is_named",
        "infra/test_gcp.py::test_what_cannot_be_removed_is_named_with_what_it_costs",
        "infra/test_tags.py::test_what_cannot_be_removed_or_seen_keeps_nothing_else_alive",
    ],
    "somebody changes the fleet in the console": [
        "infra/test_aws.py::test_a_machine_deleted_behind_our_back_is_seen_and_replaced",
        "infra/test_gcp.py::test_a_machine_that_is_gone_or_stopped_is_seen_and_replaced",
        "infra/test_docker.py::test_apply_again_grow_repair_shrink_destroy",
    ],
    "this machine's disk is full": [
        "infra/test_full_disk.py::test_nothing_is_begun_on_a_full_disk",
        "infra/test_full_disk.py::test_a_disk_that_fills_up_on_the_way_leaves_no_machine_unknown",
    ],
    "another version of mlb made the fleet": [
        "infra/test_parts.py::test_a_record_of_another_version",
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_a_test(fault: str) -> None:
    for name in FAULTS[fault]:
        file, _, function = name.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, name
