//! `apron cost`: what services used, and what others would have charged for it.

use super::client::Client;
use super::progress::{print, printable};
use super::show::table;
use anyhow::{Context, Result, bail};
use apron_model::price::NanoUsd;
use apron_model::time::{DAY_MS, day_name};
use apron_wire::apron::{CapState, GetUsageRequest, GetUsageResponse, ServiceUsage, Usage};
use apron_wire::time::{epoch_seconds, wall_ms};
use std::process::ExitCode;
use std::time::SystemTime;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The service; without it, all
    name: Option<String>,
    /// The first day, such as 2026-11-01, or so many days ago, such as 7d; by default the first of the month
    #[arg(long, value_name = "WHEN", value_parser = since)]
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

impl Since {
    #[expect(clippy::disallowed_methods, reason = "days back from today")]
    fn start_time(self) -> f64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let today = now.as_millis() as u64 / DAY_MS;
        let day = match self {
            Since::Day(day) => u64::from(day),
            Since::DaysAgo(days) => today.saturating_sub(days.into()),
        };
        epoch_seconds(day * DAY_MS)
    }
}

pub(super) async fn run(client: &Client, arguments: Arguments) -> Result<ExitCode> {
    let start_time = arguments.since.map(Since::start_time);
    match &arguments.name {
        Some(name) => {
            let service_arn = Some(client.named(name).await?.arn);
            let asked = GetUsageRequest { service_arn, start_time, ..GetUsageRequest::default() };
            let mut answer = client.call(&asked).await?;
            let Some(service) = answer.services.pop() else { bail!("the platform says nothing of {name}") };
            one(&answer, &service)?;
        }
        None => all(client, start_time).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn all(client: &Client, start_time: Option<f64>) -> Result<()> {
    let mut rows = vec![
        ["NAME", "ACTIVE", "PROVISIONED", "ASLEEP", "APP RUNNER", "ALWAYS ON", "CAP"].map(str::to_owned),
    ];
    let (mut charged, mut always_on) = (NanoUsd::default(), NanoUsd::default());
    let mut next_token = None;
    loop {
        let answer =
            client.call(&GetUsageRequest { start_time, next_token, ..GetUsageRequest::default() }).await?;
        if rows.len() == 1 {
            print(&heading(&answer));
        }
        for service in &answer.services {
            let (total, always) = (usd(&service.charge.total)?, usd(&service.always_on_total)?);
            charged = NanoUsd(charged.0.saturating_add(total.0));
            always_on = NanoUsd(always_on.0.saturating_add(always.0));
            let [active, provisioned, asleep] = amounts(&service.usage)?;
            let name = service.service_name.as_deref().map_or("(deleted)".to_owned(), printable);
            rows.push([
                name,
                active,
                provisioned,
                asleep,
                total.to_string(),
                always.to_string(),
                cap(service),
            ]);
        }
        next_token = answer.next_token;
        if next_token.is_none() {
            break;
        }
    }
    let empty = String::new;
    let (charged, always_on) = (charged.to_string(), always_on.to_string());
    rows.push(["all".to_owned(), empty(), empty(), empty(), charged, always_on, empty()]);
    print(&table(&rows));
    Ok(())
}

fn one(answer: &GetUsageResponse, service: &ServiceUsage) -> Result<()> {
    let [active, provisioned, asleep] = amounts(&service.usage)?;
    let charge = &service.charge;
    let mut facts = vec![
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

    #[test]
    fn days_are_dates_or_so_long_ago() {
        assert_eq!(since("2026-11-23"), Ok(Since::Day(20_780)));
        assert_eq!(since("7d"), Ok(Since::DaysAgo(7)));
        for wrong in ["", "d", "-1d", "yesterday", "2026-13-01", "1969-12-31"] {
            assert!(since(wrong).unwrap_err().contains("expected a date"), "{wrong}");
        }
        assert_eq!(Since::Day(1).start_time(), 86_400.0);
        assert!(Since::DaysAgo(0).start_time() > Since::DaysAgo(1).start_time());
    }

    #[test]
    fn money_and_amounts_come_as_text() {
        assert_eq!(usd("10.500000000").unwrap().to_string(), "$10.50");
        assert!(usd("x").is_err() && amount("x", "GB").is_err());
        assert_eq!(amount("12.345", "GB").unwrap(), "12 GB-s");
        assert_eq!(amount("5400.000", "vCPU").unwrap(), "1.50 vCPU-h");
    }
}
