//! GetUsage: what services used, and what others would have charged for it.

use crate::api::apprunner::view::seconds;
use crate::api::apprunner::{lookup, service_arn};
use crate::api::call::Context;
use crate::api::{failure, page};
use apron_model::extension;
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::limits;
use apron_model::price::{self, Cap, Charge, Months, NanoUsd};
use apron_model::service::Service;
use apron_model::time::{DAY_MS, WallTime, day_name};
use apron_store::{FORGOTTEN, UsageRow};
use apron_wire::Error;
use apron_wire::apron::{
    CapState, DayUsage, GetUsageRequest, GetUsageResponse, InstanceUsage, ServiceUsage, Usage, UsageCharge,
};
use apron_wire::time::wall_ms;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Marks tokens of GetUsage.
const TOKEN: &str = "u";
/// Services of one answer when the caller names no number; each is read as a whole.
const SERVICES: u32 = 100;

/// From one time to another, and the days that these are on.
struct Period {
    from: WallTime,
    to: WallTime,
}

impl Period {
    fn of(input: &GetUsageRequest, now: WallTime) -> Result<Period, Error> {
        let from = input.start_time.map_or(now.month_begin(), |start| WallTime(wall_ms(start)));
        // Sums are of whole days.
        let from = WallTime(from.0 / DAY_MS * DAY_MS);
        let to = match input.end_time {
            None => now,
            Some(end) => {
                now.min(WallTime((wall_ms(end) / DAY_MS).saturating_add(1).saturating_mul(DAY_MS) - 1))
            }
        };
        if from > to {
            return Err(failure::invalid("StartTime lies behind EndTime, or in the future."));
        }
        if now.day() - from.day() > limits::USAGE_DAYS_KEPT {
            let days = limits::USAGE_DAYS_KEPT;
            return Err(failure::invalid(format!(
                "Usage is kept for {days} days, and StartTime lies further back."
            )));
        }
        Ok(Period { from, to })
    }

    fn days(&self) -> RangeInclusive<u32> {
        self.from.day()..=self.to.day()
    }
}

pub(super) async fn get(context: Context<'_>, input: GetUsageRequest) -> Result<GetUsageResponse, Error> {
    let period = Period::of(&input, context.platform.clock.wall())?;
    // What it cannot say now is missing, and is there the next time.
    if input.next_token.is_none() {
        context.platform.node.meter().await;
    }
    let (services, next_token) = match &input.service_arn {
        Some(arn) => (vec![of_one(context, arn, &period).await?], None),
        None => of_all(context, &input, &period).await?,
    };
    Ok(GetUsageResponse {
        start_time: seconds(period.from),
        end_time: seconds(period.to),
        tariff: price::app_runner(context.region).name.to_owned(),
        services,
        next_token,
    })
}

async fn of_all(
    context: Context<'_>,
    input: &GetUsageRequest,
    period: &Period,
) -> Result<(Vec<ServiceUsage>, Option<String>), Error> {
    let cursor = |token: &String| {
        let [id] = page::parse(TOKEN, token)?;
        Ok(ServiceId::new(id))
    };
    let after = input.next_token.as_ref().map(cursor).transpose()?;
    let size = input.max_results.map_or(SERVICES, |max| page::size(Some(max)));
    let store = &context.platform.store;
    let rows = store.usage_list(context.region, period.days(), after.as_ref(), size + 1).await;
    let (rows, next_token) = page::cut(rows.map_err(failure::store)?, size, |last: &UsageRow| {
        page::token(TOKEN, &[last.service.as_str()])
    });
    let mut services = Vec::with_capacity(rows.len());
    for row in &rows {
        let known = match row.service.as_str().starts_with(FORGOTTEN) {
            true => None,
            false => store.service_get(&row.service).await.map_err(failure::store)?,
        };
        services.push(service_usage(context, known.as_ref(), row, period));
    }
    Ok((services, next_token))
}

async fn of_one(context: Context<'_>, arn: &str, period: &Period) -> Result<ServiceUsage, Error> {
    let service = lookup(context, arn).await?;
    let rows = context.platform.store.usage_of(&service.id, period.days()).await.map_err(failure::store)?;
    let (mut days, mut instances) = (BTreeMap::new(), BTreeMap::new());
    let mut sum = empty(&service.id);
    for row in &rows {
        add(&mut sum, row);
        add(days.entry(row.day).or_insert_with(|| empty(&service.id)), row);
        if !row.instance.as_str().is_empty() {
            add(instances.entry(&row.instance).or_insert_with(|| empty(&service.id)), row);
        }
    }
    let day = |(day, row): (u32, UsageRow)| DayUsage { day: day_name(day), usage: usage(&row) };
    let instance =
        |(id, row): (&_, UsageRow)| InstanceUsage { instance_id: format!("{id}"), usage: usage(&row) };
    Ok(ServiceUsage {
        days: Some(days.into_iter().map(day).collect()),
        instances: Some(instances.into_iter().map(instance).collect()),
        ..service_usage(context, Some(&service), &sum, period)
    })
}

fn empty(service: &ServiceId) -> UsageRow {
    let (service, instance) = (service.clone(), InstanceId::new(""));
    UsageRow { service, instance, day: 0, usage: price::Usage::default(), build_ms: 0 }
}

fn add(sum: &mut UsageRow, row: &UsageRow) {
    sum.usage += row.usage;
    sum.build_ms = sum.build_ms.saturating_add(row.build_ms);
}

fn service_usage(
    context: Context<'_>,
    service: Option<&Service>,
    row: &UsageRow,
    period: &Period,
) -> ServiceUsage {
    let used = (row.usage, row.build_ms);
    let charged = match service {
        Some(service) => price::charge(service, used, period.from, period.to),
        None => price::app_runner(context.region).charge(row.usage, row.build_ms, Months::default()),
    };
    let always_on =
        service.map_or(NanoUsd::default(), |service| price::always_on(service, period.from, period.to));
    let cap = service.and_then(|service| Some((extension::cap_usd_month(&service.tags)?, service.cap)));
    ServiceUsage {
        service_arn: service.map(|service| service_arn(context, service)),
        service_name: service.map(|service| service.name.clone()),
        usage: usage(row),
        charge: charge(charged),
        always_on_total: always_on.exact(),
        cap_usd_month: cap.and_then(|(usd, _)| i32::try_from(usd).ok()),
        cap_state: cap.map(|(_, cap)| cap_state(cap)),
        days: None,
        instances: None,
    }
}

fn cap_state(cap: Cap) -> CapState {
    match cap {
        Cap::Below => CapState::Below,
        Cap::Held => CapState::Held,
        Cap::Throttled => CapState::Throttled,
    }
}

fn charge(charge: Charge) -> UsageCharge {
    UsageCharge {
        cpu: charge.cpu.exact(),
        memory: charge.memory.exact(),
        builds: charge.builds.exact(),
        automatic_deployments: charge.auto_deploy.exact(),
        total: charge.total().exact(),
    }
}

fn usage(row: &UsageRow) -> Usage {
    let price::Usage { active_unit_ms, provisioned_mib_ms, asleep_mib_ms, short_unit_ms } = row.usage;
    Usage {
        active_vcpu_seconds: thousandths(active_unit_ms / 1_024),
        minimum_vcpu_seconds: thousandths(short_unit_ms / 1_024),
        provisioned_gb_seconds: thousandths(provisioned_mib_ms / 1_024),
        asleep_gb_seconds: thousandths(asleep_mib_ms / 1_024),
        build_seconds: thousandths(row.build_ms),
    }
}

fn thousandths(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}
