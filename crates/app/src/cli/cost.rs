//! `apron cost`: what services used, and what others would have charged for it.

use super::client::{Client, now_s};
use super::progress::{print, printable};
use super::show::table;
use anyhow::{Context, Result, bail};
use apron_model::limits;
use apron_model::price::NanoUsd;
use apron_model::time::{DAY_MS, WallTime, day_name};
use apron_wire::apron::{CapState, GetUsageRequest, GetUsageResponse, ServiceUsage, Usage};
use apron_wire::time::{epoch_seconds, wall_ms};
use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

/// Pages of a list; a server that goes on for ever is not one of ours.
const PAGES_MAX: usize = 1_000;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The service; without it, all
    name: Option<String>,
    /// The first day, such as 2026-11-01, or so many days ago, such as 7d; by default the first of the month
    #[arg(long, value_name = "WHEN", value_parser = since, allow_hyphen_values = true)]
    since: Option<Since>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// Days since 1970.
    Day(u32),
    DaysAgo(u32),
}

fn since(text: &str) -> Result<Since, String> {
    let ago = text.strip_suffix('d').and_then(|days| days.parse().ok()).map(Since::DaysAgo);
    let day = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        let days = date.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
        u32::try_from(days).ok().map(Since::Day)
    };
    ago.or_else(day).ok_or_else(|| {
        format!("'{text}' is no day: expected a date such as 2026-11-01, or days back such as 7d")
    })
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Since::Day(day) => f.write_str(&day_name(*day)),
            Since::DaysAgo(days) => write!(f, "{days}d"),
        }
    }
}

impl Since {
    fn start_time(self, today: u32) -> Result<f64> {
        let kept = limits::USAGE_DAYS_KEPT;
        let days_ago = match self {
            Since::Day(day) => today.checked_sub(day),
            Since::DaysAgo(days) => Some(days),
        };
        match days_ago {
            None => bail!("--since {self} lies in the future"),
            Some(days) if days > kept => {
                bail!("--since {self} lies further back than the {kept} days for which usage is kept")
            }
            Some(days) => Ok(epoch_seconds(u64::from(today.saturating_sub(days)) * DAY_MS)),
        }
    }
}

pub(super) async fn run(client: &Client, arguments: Arguments) -> Result<ExitCode> {
    let today = WallTime(now_s().saturating_mul(1_000)).day();
    let start_time = arguments.since.map(|since| since.start_time(today)).transpose()?;
    let Some(name) = &arguments.name else {
        all(client, start_time).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let (shown, arns) = match client.find(name).await? {
        Some(found) => (printable(name), vec![found.arn]),
        None => (deleted(name), deleted_arns(client, name, start_time).await?),
    };
    for arn in arns {
        let asked = GetUsageRequest { service_arn: Some(arn), start_time, ..GetUsageRequest::default() };
        let mut answer = client.call(&asked).await?;
        let Some(service) = answer.services.pop() else { bail!("the platform has no usage of {name}") };
        one(&shown, &answer, &service)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn deleted(name: &str) -> String {
    format!("{} (deleted)", printable(name))
}

/// Those of this name that used something and are remembered, for a day after their deletion.
async fn deleted_arns(client: &Client, name: &str, start_time: Option<f64>) -> Result<Vec<String>> {
    let used = of_all(client, start_time).await?.services.into_iter();
    let of_name = used.filter(|service| service.service_name.as_deref() == Some(name));
    let arns: Vec<String> = of_name.filter_map(|service| service.service_arn).collect();
    // Its error names those that there are.
    Ok(if arns.is_empty() { vec![client.named(name).await?.arn] } else { arns })
}

/// The first page, with the services of all of them.
async fn of_all(client: &Client, start_time: Option<f64>) -> Result<GetUsageResponse> {
    let asked = |next_token| GetUsageRequest { start_time, next_token, ..GetUsageRequest::default() };
    let mut all = client.call(&asked(None)).await?;
    for _ in 1..PAGES_MAX {
        let Some(token) = all.next_token.take() else { return Ok(all) };
        let page = client.call(&asked(Some(token))).await?;
        all.services.extend(page.services);
        all.next_token = page.next_token;
    }
    bail!("the list of what services used has more than {PAGES_MAX} pages")
}

async fn all(client: &Client, start_time: Option<f64>) -> Result<()> {
    let answer = of_all(client, start_time).await?;
    // Asked for last: what it lacks has been deleted.
    let present: BTreeSet<String> =
        client.services().await?.into_iter().filter_map(|service| service.service_arn).collect();
    let mut rows = vec![
        ["NAME", "ACTIVE", "PROVISIONED", "ASLEEP", "APP RUNNER", "ALWAYS ON", "CAP"].map(str::to_owned),
    ];
    let (mut charged, mut always_on) = (NanoUsd::default(), NanoUsd::default());
    for service in &answer.services {
        let (total, always) = (usd(&service.charge.total)?, usd(&service.always_on_total)?);
        charged = NanoUsd(charged.0.saturating_add(total.0));
        always_on = NanoUsd(always_on.0.saturating_add(always.0));
        let [active, provisioned, asleep] = amounts(&service.usage)?;
        rows.push([
            shown_name(service, &present),
            active,
            provisioned,
            asleep,
            total.to_string(),
            always.to_string(),
            cap(service),
        ]);
    }
    let empty = String::new;
    let (charged, always_on) = (charged.to_string(), always_on.to_string());
    rows.push(["all".to_owned(), empty(), empty(), empty(), charged, always_on, empty()]);
    print(&heading(&answer));
    print(&table(&rows));
    Ok(())
}

/// `present` are the ARNs of those that are not deleted.
fn shown_name(service: &ServiceUsage, present: &BTreeSet<String>) -> String {
    match (&service.service_name, &service.service_arn) {
        (Some(name), Some(arn)) if present.contains(arn) => printable(name),
        (Some(name), _) => deleted(name),
        // Those that are forgotten, together.
        (None, _) => "(deleted)".to_owned(),
    }
}

fn one(name: &str, answer: &GetUsageResponse, service: &ServiceUsage) -> Result<()> {
    let [active, provisioned, asleep] = amounts(&service.usage)?;
    let charge = &service.charge;
    let mut facts = vec![
        ["name".to_owned(), name.to_owned()],
        ["active".to_owned(), active],
        ["minimum of a minute per start".to_owned(), amount(&service.usage.minimum_vcpu_seconds, "vCPU")?],
        ["provisioned".to_owned(), provisioned],
        ["asleep".to_owned(), asleep],
        ["App Runner, CPU".to_owned(), usd(&charge.cpu)?.to_string()],
        ["App Runner, memory".to_owned(), usd(&charge.memory)?.to_string()],
        ["App Runner, builds".to_owned(), usd(&charge.builds)?.to_string()],
        ["App Runner, automatic deployments".to_owned(), usd(&charge.automatic_deployments)?.to_string()],
        ["App Runner".to_owned(), usd(&charge.total)?.to_string()],
        ["always on".to_owned(), usd(&service.always_on_total)?.to_string()],
    ];
    if service.cap_usd_month.is_some() {
        facts.push(["cap".to_owned(), cap(service)]);
    }
    print(&heading(answer));
    print(&table(&facts));
    let days = service.days.as_deref().unwrap_or_default();
    if !days.is_empty() {
        let mut rows = vec![["DAY", "ACTIVE", "PROVISIONED", "ASLEEP"].map(str::to_owned)];
        for day in days {
            let [active, provisioned, asleep] = amounts(&day.usage)?;
            rows.push([day.day.clone(), active, provisioned, asleep]);
        }
        print(&format!("\n{}", table(&rows)));
    }
    Ok(())
}

fn heading(answer: &GetUsageResponse) -> String {
    let first = day_name(u32::try_from(wall_ms(answer.start_time) / DAY_MS).unwrap_or(u32::MAX));
    format!("since {first}, UTC; prices of {}\n", printable(&answer.tariff))
}

fn cap(service: &ServiceUsage) -> String {
    match (service.cap_usd_month, service.cap_state) {
        (Some(usd), Some(CapState::Held)) => format!("${usd} (held)"),
        (Some(usd), Some(CapState::Throttled)) => format!("${usd} (throttled)"),
        (Some(usd), _) => format!("${usd}"),
        (None, _) => "-".to_owned(),
    }
}

/// Active, provisioned, asleep.
fn amounts(usage: &Usage) -> Result<[String; 3]> {
    Ok([
        amount(&usage.active_vcpu_seconds, "vCPU")?,
        amount(&usage.provisioned_gb_seconds, "GB")?,
        amount(&usage.asleep_gb_seconds, "GB")?,
    ])
}

/// Seconds of something, or hours of it where there are many.
fn amount(seconds: &str, unit: &str) -> Result<String> {
    let seconds: f64 = seconds.parse().with_context(|| format!("the platform says '{seconds}'"))?;
    Ok(match seconds < 3_600.0 {
        true => format!("{seconds:.0} {unit}-s"),
        false => format!("{:.2} {unit}-h", seconds / 3_600.0),
    })
}

fn usd(text: &str) -> Result<NanoUsd> {
    text.parse().with_context(|| format!("the platform says '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_wire::apron::UsageCharge;

    #[test]
    fn days_are_dates_or_so_long_ago() {
        assert_eq!(since("2026-11-23"), Ok(Since::Day(20_780)));
        assert_eq!(since("7d"), Ok(Since::DaysAgo(7)));
        for wrong in ["", "d", "-1d", "yesterday", "2026-13-01", "1969-12-31"] {
            assert!(since(wrong).unwrap_err().contains("expected a date"), "{wrong}");
        }
    }

    #[test]
    fn the_first_day_is_bounded_and_the_flag_is_named() {
        let today = 20_780;
        for (since, expect) in [
            (Since::Day(today), Ok(20_780.0 * 86_400.0)),
            (Since::DaysAgo(1), Ok(20_779.0 * 86_400.0)),
            (Since::Day(today + 1), Err("--since 2026-11-24 lies in the future")),
            (
                Since::DaysAgo(401),
                Err("--since 401d lies further back than the 400 days for which usage is kept"),
            ),
        ] {
            let start = since.start_time(today).map_err(|error| error.to_string());
            assert_eq!(start, expect.map_err(str::to_owned), "{since}");
        }
    }

    #[test]
    fn who_is_deleted_is_called_so() {
        let usage = || Usage {
            active_vcpu_seconds: String::new(),
            minimum_vcpu_seconds: String::new(),
            provisioned_gb_seconds: String::new(),
            asleep_gb_seconds: String::new(),
            build_seconds: String::new(),
        };
        let charge = || UsageCharge {
            cpu: String::new(),
            memory: String::new(),
            builds: String::new(),
            automatic_deployments: String::new(),
            total: String::new(),
        };
        let present = BTreeSet::from(["arn:1".to_owned()]);
        let shown = |name: Option<&str>, arn: Option<&str>| {
            let service = ServiceUsage {
                service_arn: arn.map(str::to_owned),
                service_name: name.map(str::to_owned),
                usage: usage(),
                charge: charge(),
                always_on_total: String::new(),
                cap_usd_month: None,
                cap_state: None,
                days: None,
                instances: None,
            };
            shown_name(&service, &present)
        };
        assert_eq!(shown(Some("web"), Some("arn:1")), "web");
        assert_eq!(shown(Some("web"), Some("arn:2")), "web (deleted)");
        assert_eq!(shown(None, None), "(deleted)");
    }

    #[test]
    fn money_and_amounts_come_as_text() {
        assert_eq!(usd("10.500000000").unwrap().to_string(), "$10.50");
        assert!(usd("x").is_err() && amount("x", "GB").is_err());
        assert_eq!(amount("12.345", "GB").unwrap(), "12 GB-s");
        assert_eq!(amount("5400.000", "vCPU").unwrap(), "1.50 vCPU-h");
    }
}
