//! The long list: what CI is too short for. It writes `docs/nightly.md` itself, with commit and date, so that
//! the page says what was run and nothing else.

use crate::ci::{self, Count, Stage};
use crate::facts::Facts;
use crate::{bench, vm};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::path::Path;

/// What the list is to hold and is found in tests, each with all tests that it is made of. It passes when each of
/// them was seen to pass, so that one that was renamed or taken away is missed here, and is skipped when one of them
/// passed without doing its work.
const PARTS: &[(&str, &[&str])] = &[
    (
        "simulation with new seeds",
        &["new_seeds_for_minutes", "the_same_seed_is_the_same_walk", "a_thousand_seeds"],
    ),
    (
        "every operation, cut at every step",
        &[
            "tests::cuts::create_cut_at_every_step",
            "tests::cuts::delete_cut_at_every_step",
            "tests::cuts::deployment_cut_at_every_step",
            "tests::cuts::pause_cut_at_every_step",
            "tests::cuts::resume_cut_at_every_step",
            "tests::cuts::rolling_by_lack_of_memory_cut_at_every_step",
            "tests::cuts::rolling_update_cut_at_every_step",
            "tests::cuts::stories::builds_that_wait_cut_at_every_step",
            "tests::cuts::stories::queued_cut_at_every_step",
            "tests::cuts::stories::retried_cut_at_every_step",
            "tests::cuts::stories::superseded_cut_at_every_step",
            "tests::cuts::update_cut_at_every_step",
        ],
    ),
    ("a day of operations with fifty kills", &["e23_kills::a_day_with_fifty_kills_ends_as_one_without"]),
    ("50 replacements of the program and 100 of the table under load", &["e24_replacement::takeovers"]),
    (
        "nothing lost at 2,000 requests a second: control and node killed, tables switched",
        &[
            "e25_static_stability::a_hundred_table_switches_at_2000_requests_a_second",
            "e25_static_stability::control_and_node_are_killed_again_and_again_at_2000_requests_a_second",
        ],
    ),
    (
        "backup and restore",
        &[
            "e22_backup::an_empty_machine_gets_everything",
            "e22_backup::over_a_live_directory_instances_are_adopted_and_routes_are_newer",
            "e22_backup::rows_in_postgresql_and_from_there_into_the_directory",
        ],
    ),
    (
        "the store on PostgreSQL",
        &[
            "postgres::a_build_that_cannot_be_read_holds_up_no_other",
            "postgres::a_name_is_given_once_and_an_operation_is_open_alone",
            "postgres::a_refused_act_leaves_nothing_and_an_unknown_service_is_none",
            "postgres::a_service_comes_back_as_it_was_also_after_closing",
            "postgres::an_operation_advances_row_by_row",
            "postgres::domains_go_with_their_service",
            "postgres::epochs_only_grow_and_single_rows_are_kept",
            "postgres::no_update_is_lost_and_none_is_seen_half",
            "postgres::pages_neither_skip_nor_repeat_while_things_change",
            "postgres::resources_come_and_go",
            "postgres::what_is_not_json_is_refused_and_what_is_not_ours_is_named",
            "postgres::wishes_of_slots_change_only_as_they_may",
            "races::a_second_control_is_refused",
            "races::a_session_that_ends_fails_its_call_and_no_other",
        ],
    ),
    (
        "fuzz",
        &[
            "bodies",
            "fuzz::connections_changed_by_dice",
            "http1::body::tests::as_hyper::requests_changed_by_dice_mean_the_same_to_hyper",
            "http1::body::tests::bodies_changed_by_dice",
            "http1::gate::tests::connections_changed_by_dice",
            "http1::head::tests::heads_changed_by_dice",
            "image_archives",
            "layers",
            "manifests",
            "proxy_protocol::tests::headers_changed_by_dice",
            "route::tests::hosts_changed_by_dice",
            "signatures",
            "start_commands",
        ],
    ),
    (
        "the proxy with clients and applications of others",
        &[
            "clients::curl::a_connection_is_kept",
            "clients::curl::bodies_pass_whole_however_they_are_sent",
            "clients::curl::every_version_is_spoken_in_the_clear",
            "clients::curl::every_version_is_spoken_over_tls",
            "clients::load::ab_fails_at_nothing",
            "clients::load::h2load_fails_at_nothing",
            "clients::load::nghttp_finds_no_fault",
            "clients::load::nghttp_gets_no_upgrade",
            "clients::load::wrk_fails_at_nothing",
            "clients::python::an_application_of_http_1_0_that_closes_is_served",
            "clients::python::the_library_grpcio_finds_no_fault",
            "clients::python::the_library_websockets_finds_no_fault",
            "clients::tls::openssl_gets_nothing_that_is_old_or_weak",
            "clients::tls::openssl_speaks_both_versions_and_goes_on_with_its_sessions",
            "clients::tls::testssl_grades_it_a_plus",
        ],
    ),
    (
        "the proxy reads requests as nginx does",
        &["nginx::nginx_reads_the_same_requests", "nginx::nginx_reads_the_same_requests_changed_by_dice"],
    ),
    (
        "every example, built and answering",
        &["e10_examples::every_example_deploys_as_its_readme_says", "the_examples_build_on_real_bases"],
    ),
    (
        "conformance with the AWS CLI, the SDKs and Terraform",
        &[
            "botocore_reads_what_we_answer",
            "e08_aws_cli::an_image_through_its_whole_life",
            "e08_aws_cli::git_to_url_then_under_load_then_broken",
            "e08_aws_cli::the_lines_of_env_are_all_that_the_cli_needs_and_a_wrong_signature_is_refused",
            "e11_conformance::every_operation_and_every_error_by_boto3_and_the_aws_cli",
            "e11_conformance::every_operation_by_the_sdk_for_javascript",
            "e11_conformance::every_operation_by_the_sdk_for_rust",
            "e11_conformance::terraform_applies_updates_imports_and_destroys_every_resource",
            "every_request_of_botocore_is_verified",
            "the_calls_of_botocore_are_read",
        ],
    ),
];

/// Adds the long list to the stages that have run, and writes the page. Gives the count of the long tests.
pub(crate) fn run(root: &Path, facts: &Facts, stages: &mut Vec<Stage>, short: &Count) -> Result<Count> {
    let mut long = Count::default();
    ci::stage(stages, "long tests", || ci::tests(root, &["--ignored"], &mut long));
    ci::stage(stages, "parts", || complete(short, &long));
    ci::stage(stages, "vm", || vm::run(root));
    ci::stage(stages, "bench", || {
        ensure!(bench::run(root, &["--check"])?, "a bar was missed");
        Ok(())
    });
    bench::write_proofs(root, facts, &proofs(short, &long)?)?;
    let page = page(facts, stages, short, &long)?;
    std::fs::write(root.join("docs/nightly.md"), page).context("cannot write docs/nightly.md")?;
    Ok(long)
}

/// The tests of the parts, by the names of their functions.
pub(crate) fn functions() -> impl Iterator<Item = &'static str> {
    PARTS.iter().flat_map(|(_, tests)| *tests).map(|test| test.rsplit("::").next().unwrap_or(test))
}

/// # Errors
/// Names what was not seen to pass.
fn complete(short: &Count, long: &Count) -> Result<()> {
    let missed: Vec<&str> = PARTS.iter().flat_map(|(_, tests)| missed(tests, short, long)).collect();
    ensure!(missed.is_empty(), "not seen to pass: {}", missed.join(", "));
    for what in short.skipped.iter().chain(&long.skipped) {
        let test = what.split(": ").next().unwrap_or(what);
        let known = short.names.contains(test) || long.names.contains(test);
        ensure!(known, "SKIPPED names no test that passed: {what}");
    }
    Ok(())
}

/// The first of these tests that says of itself that it was skipped.
fn skipped<'a>(tests: &[&'a str], short: &Count, long: &Count) -> Option<&'a str> {
    let said = |test: &str| {
        let by = |what: &String| what.strip_prefix(test).is_some_and(|rest| rest.starts_with(": "));
        short.skipped.iter().chain(&long.skipped).any(by)
    };
    tests.iter().copied().find(|test| said(test))
}

/// What came of a part, in words.
fn result(tests: &[&str], short: &Count, long: &Count) -> String {
    match (missed(tests, short, long).is_empty(), skipped(tests, short, long)) {
        (false, _) => "**failed**".to_owned(),
        (true, Some(test)) => format!("skipped by `{test}`"),
        (true, None) => "passed".to_owned(),
    }
}

fn missed<'a>(tests: &'a [&str], short: &Count, long: &Count) -> Vec<&'a str> {
    tests.iter().copied().filter(|test| !short.names.contains(*test) && !long.names.contains(*test)).collect()
}

fn page(facts: &Facts, stages: &[Stage], short: &Count, long: &Count) -> Result<String> {
    let mut page = String::from("# The long list\n\nWritten by `cargo xtask ci --all`.\n\n");
    writeln!(page, "- Commit: {}\n- Date: {}\n- Machine: {}\n", facts.commit, facts.date, facts.machine)?;
    writeln!(page, "| stage | result | time |\n|---|---|---|")?;
    let word = |passed| if passed { "passed" } else { "**failed**" };
    for s in stages {
        writeln!(page, "| {} | {} | {} |", s.name, word(s.passed), ci::human(s.seconds))?;
    }
    writeln!(page, "\nTests: {} passed, {} failed.", short.passed, short.failed)?;
    writeln!(page, "Long tests: {} passed, {} failed. Among both:\n", long.passed, long.failed)?;
    writeln!(page, "| part | result | tests |\n|---|---|---|")?;
    for (part, tests) in PARTS {
        writeln!(page, "| {part} | {} | {} |", result(tests, short, long), tests.len())?;
    }
    for what in short.skipped.iter().chain(&long.skipped) {
        writeln!(page, "\nSKIPPED: {what}")?;
    }
    writeln!(
        page,
        "\nThe figures of the benchmark, and the seeds and counts of the proofs, are in \
         [benchmarks.md](benchmarks.md)."
    )?;
    Ok(page)
}

/// What tests drew by chance, which repeats a run, and how much they did.
fn proofs(short: &Count, long: &Count) -> Result<String> {
    let mut lines = String::new();
    for seed in short.seeds.iter().chain(&long.seeds) {
        writeln!(lines, "- SEED: {seed}")?;
    }
    for count in short.counts.iter().chain(&long.counts) {
        writeln!(lines, "- COUNT: {count}")?;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_ran() {
        let facts =
            Facts { commit: "abc".into(), date: "2026-01-31 10:00 UTC".into(), machine: "2 cores".into() };
        let stages = [
            Stage { name: "demo".into(), seconds: 61.2, passed: true },
            Stage { name: "bench".into(), seconds: 2.0, passed: false },
        ];
        let (part, tests) = PARTS[PARTS.len() - 1];
        let skipped = vec![format!("{}: not there", tests[1])];
        let short = Count { passed: 300, failed: 1, skipped, ..Count::default() };
        let names = PARTS[0].1.iter().chain(tests).map(|name| (*name).to_owned()).collect();
        let (seeds, counts) = (vec!["walks from 7".to_owned()], vec!["3 walks".to_owned()]);
        let long = Count { passed: 4, names, seeds, counts, ..Count::default() };
        let page = page(&facts, &stages, &short, &long).unwrap();
        let fuzz = PARTS.iter().find(|(part, _)| *part == "fuzz").unwrap().1.len();
        for line in [
            "- Commit: abc\n",
            "| demo | passed | 1 min 1 s |",
            "| bench | **failed** | 2.0 s |",
            "Tests: 300 passed, 1 failed.",
            "Long tests: 4 passed, 0 failed.",
            &format!("SKIPPED: {}: not there\n", tests[1]),
            &format!("| {part} | skipped by `{}` | {} |", tests[1], tests.len()),
            &format!("| {} | passed | {} |", PARTS[0].0, PARTS[0].1.len()),
            &format!("| fuzz | **failed** | {fuzz} |"),
        ] {
            assert!(page.contains(line), "{line}");
        }
        assert_eq!(proofs(&short, &long).unwrap(), "- SEED: walks from 7\n- COUNT: 3 walks\n");
        let error = complete(&short, &long).unwrap_err().to_string();
        assert!(error.contains("manifests") && !error.contains(PARTS[0].1[0]), "{error}");
    }
}
