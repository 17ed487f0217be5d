//! What a page of each list of the store costs among few services and among many, on SQLite and on PostgreSQL.

use super::process::Directory;
use super::{Effort, Outcome, Verdict, interrupt};
use crate::program;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// Numbers of services, each in a database of its own.
const SERVICES: [usize; 4] = [10, 100, 1_000, 10_000];
/// Of every page, by how often other benches start something.
const REPETITIONS: usize = 50;
/// A page among the most may cost this many times one among the fewest.
const BAR_RATIO: f64 = 1.5;
/// The program that fills and reads the databases, `crates/store/examples/list_cost.rs`.
const PROGRAM: &str = "list_cost";

/// A page of a list, as the program measured it.
#[derive(Deserialize)]
struct Cost {
    database: String,
    list: String,
    page: String,
    /// Milliseconds by the number of services.
    medians: Vec<(usize, f64)>,
}

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    interrupt::check()?;
    let program = program::build_example(root, PROGRAM)?;
    let directory = Directory::new("lists")?;
    let repetitions = effort.starts * REPETITIONS;
    let mut fill_and_read = Command::new(program);
    fill_and_read.arg(&directory.0).arg(repetitions.to_string());
    fill_and_read.args(SERVICES.map(|services| services.to_string()));
    let said = program::output(&mut fill_and_read)?;
    interrupt::check()?;
    let costs: Vec<Cost> = serde_json::from_str(&said).with_context(|| format!("what {PROGRAM} printed"))?;
    outcome(&costs, repetitions)
}

impl Cost {
    /// Among the most over among the fewest.
    fn ratio(&self) -> Result<f64> {
        let (first, last) = self.medians.first().zip(self.medians.last()).context("nothing was measured")?;
        Ok(last.1 / first.1)
    }
}

fn outcome(costs: &[Cost], repetitions: usize) -> Result<Outcome> {
    let mut text = format!(
        "Pages of ten rows, read from the store itself: milliseconds, medians of {repetitions}, by the number of \
         services. With the services grow their operations, and as many shared resources of each kind that is listed; \
         one service has as many operations as are kept. A list whose filter leaves less than a page is read whole. The \
         databases stand beside one another and their pages are read in turn.\n\n| database | list | page |"
    );
    for services in SERVICES {
        text.push_str(&format!(" {services} |"));
    }
    text.push_str(" last to first |\n|---|---|---|---|---|---|---|---|\n");
    for cost in costs {
        let Cost { database, list, page, medians } = cost;
        ensure!(medians.len() == SERVICES.len(), "{list} was not measured for every number of services");
        let cells: String = medians.iter().map(|(_, ms)| format!(" {ms:.3} |")).collect();
        text.push_str(&format!("| {database} | {list} | {page} |{cells} {:.2} |\n", cost.ratio()?));
    }
    let worst = |database: &str| -> Result<f64> {
        let costs = costs.iter().filter(|cost| cost.database == database);
        let ratios = costs.map(Cost::ratio).collect::<Result<Vec<_>>>()?;
        ratios.into_iter().max_by(f64::total_cmp).with_context(|| format!("{database} was not measured"))
    };
    let verdicts = vec![
        Verdict::new("SQLite, any list: a page, 10,000 services to 10", worst("SQLite")?, BAR_RATIO),
        Verdict::new("PostgreSQL, any list: a page, 10,000 services to 10", worst("PostgreSQL")?, BAR_RATIO),
    ];
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_list_of_each_database_counts() {
        let cost = |database: &str, last: f64| Cost {
            database: database.to_owned(),
            list: "services".to_owned(),
            page: "middle".to_owned(),
            medians: SERVICES.into_iter().zip([0.5, 0.4, 0.3, last]).collect(),
        };
        let costs = [cost("SQLite", 0.5), cost("SQLite", 0.6), cost("PostgreSQL", 1.0)];
        let outcome = outcome(&costs, 3).unwrap();
        let figures: Vec<f64> = outcome.verdicts.iter().map(|verdict| verdict.figure).collect();
        assert_eq!(figures, [1.2, 2.0]);
        assert!(
            outcome
                .text
                .contains("| PostgreSQL | services | middle | 0.500 | 0.400 | 0.300 | 1.000 | 2.00 |")
        );
        assert!(super::outcome(&costs[..1], 3).is_err());
    }
}
