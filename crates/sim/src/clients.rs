//! Clients: any call on anything at any time, and what they believe of what they were answered.

use crate::dice::Dice;
use apron_control::bench::{Call, CallError, Turn};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) const GOOD: &str = "https://git.test/good.git";
pub(crate) const BETTER: &str = "https://git.test/better.git";
pub(crate) const BAD: &str = "https://git.test/bad.git";
pub(crate) const SOURCES: [&str; 3] = [GOOD, BETTER, BAD];
/// Names of imported images.
pub(crate) const NAMES: [&str; 2] = ["shop:1", "shop:2"];

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
/// Services that are not deleted.
const SERVICES_MAX: usize = 4;
/// Deleted ones that are still asked about.
const DELETED_MAX: usize = 2;
const SCALINGS_MAX: usize = 4;
/// Revisions that somebody may want to go back to; few services have more in a walk.
const REVISIONS_MAX: u64 = 3;
/// Operations that are asked about, cancelled and repeated.
const OPERATIONS_MAX: usize = 12;

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) region: String,
    pub(crate) arn: String,
    pub(crate) id: String,
}

#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) services: Vec<Known>,
    deleted: Vec<Known>,
    /// Regions and ARNs of auto scaling configurations.
    scalings: Vec<(String, String)>,
    /// ARNs of services and ids of operations.
    operations: Vec<(Known, String)>,
    /// Services that somebody asked to pause or to delete, with success, until they are seen to serve as ever.
    pub(crate) stopped: BTreeSet<String>,
    created: u32,
}

/// Calls that are no error of anybody when they are refused.
const INTERNAL: &str = "InternalServiceErrorException";

impl Clients {
    /// Some call.
    pub(crate) fn call(&mut self, dice: &mut Dice) -> Call {
        let region = dice.of(&REGIONS).to_owned();
        if self.services.is_empty() || (self.services.len() < SERVICES_MAX && dice.once_in(5)) {
            return self.create(region, dice);
        }
        let mut known = dice.of(&self.services);
        if !self.deleted.is_empty() && dice.once_in(12) {
            known = dice.of(&self.deleted);
        }
        let of = |operation: &str, mut input: Value| {
            input["ServiceArn"] = json!(known.arn);
            Call { region: known.region.clone(), operation: operation.to_owned(), input }
        };
        let resource = |operation: &str, mut input: Value| {
            input["ResourceArn"] = json!(known.arn);
            Call { region: known.region.clone(), operation: operation.to_owned(), input }
        };
        let listed = |operation: &str, dice: &mut Dice| Call {
            region: known.region.clone(),
            operation: operation.to_owned(),
            input: json!({ "MaxResults": 1 + dice.below(3) }),
        };
        match dice.below(34) {
            0..=5 => of("UpdateService", self.change(&known.region, dice)),
            6..=8 => of("StartDeployment", json!({})),
            9..=11 => of("PauseService", json!({})),
            12..=14 => of("ResumeService", json!({})),
            15 => of("DeleteService", json!({})),
            16 => resource("TagResource", json!({ "Tags": [tag(dice)] })),
            17 => resource("UntagResource", json!({ "TagKeys": [tag(dice)["Key"]] })),
            18 => resource("ListTagsForResource", json!({})),
            19 => of("DescribeService", json!({})),
            20 => listed("ListServices", dice),
            21 => of("ListOperations", json!({ "MaxResults": 1 + dice.below(3) })),
            22 => listed("ListAutoScalingConfigurations", dice),
            23 => self.scaling(region, dice),
            24 if !self.scalings.is_empty() => {
                let (region, arn) = dice.of(&self.scalings);
                let input = json!({ "AutoScalingConfigurationArn": arn });
                Call { region, operation: "DeleteAutoScalingConfiguration".to_owned(), input }
            }
            25 => of("DescribeStatus", json!({})),
            26 => of("ListRevisions", json!({})),
            27 | 28 => of("CancelOperation", json!({})),
            29 => of("RollbackService", json!({})),
            30 | 33 => of("RollbackService", json!({ "Revision": 1 + dice.below(REVISIONS_MAX) })),
            31 => of("RetryOperation", json!({})),
            32 if !self.operations.is_empty() => {
                let (known, id) = dice.of(&self.operations);
                let operation = dice.of(&["DescribeOperation", "RetryOperation", "CancelOperation"]);
                let input = json!({ "ServiceArn": known.arn, "OperationId": id });
                Call { region: known.region, operation: operation.to_owned(), input }
            }
            _ => of("DescribeService", json!({})),
        }
    }

    fn create(&mut self, region: String, dice: &mut Dice) -> Call {
        // Services of several instances, some of which are replaced one by one, must not be rare.
        if self.scaling_of(&region, dice).is_none() && dice.once_in(2) {
            return self.scaling(region, dice);
        }
        self.created += 1;
        // Names of deleted ones come again, and now and then one that is taken.
        let name = format!("web-{}", dice.below(SERVICES_MAX as u64 * 2));
        let mut input = json!({
            "ServiceName": name,
            "SourceConfiguration": source(dice),
        });
        if let Some(arn) = self.scaling_of(&region, dice) {
            input["AutoScalingConfigurationArn"] = json!(arn);
        }
        if dice.once_in(2) {
            input["Tags"] = json!([tag(dice)]);
        }
        Call { region, operation: "CreateService".to_owned(), input }
    }

    fn change(&self, region: &str, dice: &mut Dice) -> Value {
        let mut input = json!({});
        if !dice.once_in(4) {
            input["SourceConfiguration"] = source(dice);
        }
        if dice.once_in(4) {
            input["HealthCheckConfiguration"] = json!({ "HealthyThreshold": 1 + dice.below(3) });
        }
        if dice.once_in(4)
            && let Some(arn) = self.scaling_of(region, dice)
        {
            input["AutoScalingConfigurationArn"] = json!(arn);
        }
        input
    }

    fn scaling_of(&self, region: &str, dice: &mut Dice) -> Option<String> {
        let here: Vec<&String> =
            self.scalings.iter().filter(|(at, _)| at == region).map(|(_, arn)| arn).collect();
        if here.is_empty() { None } else { Some(dice.of(&here).clone()) }
    }

    fn scaling(&self, region: String, dice: &mut Dice) -> Call {
        let (least, more) = (1 + dice.below(3), dice.below(2));
        let input = json!({
            "AutoScalingConfigurationName": dice.of(&["small", "large"]),
            "MaxConcurrency": 10 * least + more,
            "MinSize": least,
            "MaxSize": least + more,
        });
        Call { region, operation: "CreateAutoScalingConfiguration".to_owned(), input }
    }

    /// What a call came to. The id of the operation that it opened or names; an error that no caller deserves.
    pub(crate) fn answered(
        &mut self,
        call: &Call,
        answer: &Result<Value, CallError>,
    ) -> Result<Option<String>, String> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.code == INTERNAL => {
                return Err(format!("{} {} is answered {error}", call.operation, call.input));
            }
            Err(_) => return Ok(None),
        };
        let arn = call.input["ServiceArn"].as_str();
        let known = arn.and_then(|arn| self.services.iter().find(|known| known.arn == arn).cloned());
        match (call.operation.as_str(), known.clone()) {
            ("CreateService", _) => {
                let text = |member: &str| answer["Service"][member].as_str().unwrap_or_default().to_owned();
                self.services.push(Known {
                    region: call.region.clone(),
                    arn: text("ServiceArn"),
                    id: text("ServiceId"),
                });
            }
            ("CreateAutoScalingConfiguration", _) => {
                let made = &answer["AutoScalingConfiguration"]["AutoScalingConfigurationArn"];
                if let Some(arn) = made.as_str() {
                    self.scalings.push((call.region.clone(), arn.to_owned()));
                    if self.scalings.len() > SCALINGS_MAX {
                        self.scalings.remove(0);
                    }
                }
            }
            ("PauseService", Some(known)) => drop(self.stopped.insert(known.id)),
            ("DeleteService", Some(known)) => {
                self.stopped.insert(known.id.clone());
                // It stays among those that calls are made on until it is gone.
                self.deleted.push(known);
                if self.deleted.len() > DELETED_MAX {
                    self.deleted.remove(0);
                }
            }
            _ => {}
        }
        let operation = answer["OperationId"].as_str().map(ToOwned::to_owned);
        let known = match call.operation.as_str() {
            "CreateService" => self.services.last().cloned(),
            _ => known,
        };
        if let (Some(id), Some(known)) = (&operation, known) {
            self.operations.push((known, id.clone()));
            if self.operations.len() > OPERATIONS_MAX {
                self.operations.remove(0);
            }
        }
        Ok(operation)
    }

    /// Control was killed before it answered these: they may have been heard.
    pub(crate) fn unanswered(&mut self, turns: &[Turn]) {
        for turn in turns {
            let Turn::Call(call) = turn else { continue };
            let arn = call.input["ServiceArn"].as_str();
            let known = arn.and_then(|arn| self.services.iter().find(|known| known.arn == arn));
            if ["PauseService", "DeleteService"].contains(&call.operation.as_str()) {
                self.stopped.extend(known.map(|known| known.id.clone()));
            }
        }
    }

    /// Its row says that it is deleted: another may have its name.
    pub(crate) fn gone(&mut self, id: &str) {
        self.services.retain(|known| known.id != id);
    }
}

fn source(dice: &mut Dice) -> Value {
    if dice.once_in(3) {
        return json!({
            "ImageRepository": { "ImageIdentifier": dice.of(&NAMES), "ImageRepositoryType": "ECR" },
            "AutoDeploymentsEnabled": false,
        });
    }
    json!({
        "CodeRepository": {
            "RepositoryUrl": dice.of(&SOURCES),
            "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
            "CodeConfiguration": { "ConfigurationSource": "REPOSITORY" },
        },
        "AutoDeploymentsEnabled": false,
    })
}

fn tag(dice: &mut Dice) -> Value {
    let (key, value) = dice.of(&[
        ("team", "blue"),
        ("team", "red"),
        ("apron:queue-operations", "true"),
        ("apron:queue-operations", "false"),
        ("apron:health-check-grace-seconds", "60"),
        ("apron:deploy", "rolling"),
        ("apron:deploy", "rolling"),
        ("apron:deploy", "all"),
    ]);
    json!({ "Key": key, "Value": value })
}
