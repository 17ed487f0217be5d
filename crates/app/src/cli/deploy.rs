//! `apron deploy`: makes a service of a directory, a repository or an image, and stays until it serves or not.

use super::client::{Client, Found, Refused};
use super::follow::{self, Ended};
use super::pack::{self, MANIFEST};
use super::progress::{self, Progress};
use super::show::bytes;
use super::target::Target;
use super::upload;
use anyhow::{Context, Result, bail};
use apron_model::extension::CONFIG_MERGE;
use apron_model::limits;
use apron_model::manifest::{self, Severity};
use apron_model::source;
use apron_wire::apprunner::{
    CodeConfiguration, CodeConfigurationValues, CodeRepository, ConfigurationSource, CreateServiceRequest,
    DescribeServiceRequest, ImageConfiguration, ImageRepository, ImageRepositoryType, InstanceConfiguration,
    ListTagsForResourceRequest, ResumeServiceRequest, Service, ServiceStatus, SourceCodeVersion,
    SourceCodeVersionType, SourceConfiguration, StartDeploymentRequest, Tag, TagResourceRequest,
    UntagResourceRequest, UpdateServiceRequest,
};
use apron_wire::apron::{
    self, DescribeStatusRequest, DescribeStatusResponse, ImageOrigin, InstanceHealth, InstancePhase,
    InstanceStatus, ListImagesRequest, RevisionState, UploadKind,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Shown to whoever deploys a directory that does not say how to build and run it.
const MANIFEST_EXAMPLE: &str = "\
version: 1.0
runtime: python311
build:
  commands:
    build:
      - pip install -r requirements.txt
run:
  command: gunicorn app:app --bind 0.0.0.0:8080
  network:
    port: 8080
";

/// Stands where the API wants a runtime and `apprunner.yaml` names it.
const RUNTIME_OF_FILE: &str = "REPOSITORY";
/// The branch when nobody names one and the repository cannot be asked.
const BRANCH: &str = "main";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Directory with an apprunner.yaml, git URL, or image
    #[arg(default_value = ".", value_name = "DIR|GIT_URL|IMAGE")]
    target: String,
    /// Name of the service [default: the last part of the target]
    #[arg(long)]
    name: Option<String>,
    /// Port that the application listens on [default: that of apprunner.yaml; for an image the one it had; else 8080]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Variable for the application; may be repeated. Replaces all of the deploy before; without any, those of
    /// apprunner.yaml alone count, and an image keeps its own
    #[arg(long, value_name = "K=V", value_parser = variable)]
    pub(super) env: Vec<(String, String)>,
    /// Start command of an image, in place of its own [default: the one it had]
    #[arg(long, value_name = "COMMAND")]
    start_command: Option<String>,
    /// vCPUs, e.g. 0.5, or units, e.g. 1024 [default: 1]
    #[arg(long, value_parser = |text: &str| measure(text, "vCPU", 64.0))]
    cpu: Option<String>,
    /// GB, e.g. 0.5, or MB, e.g. 2048 [default: 2]
    #[arg(long, value_parser = |text: &str| measure(text, "GB", 128.0))]
    memory: Option<String>,
    /// Branch of a git repository
    #[arg(long)]
    branch: Option<String>,
}

/// "K=V"; the value may hold further equals signs.
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give NAME=VALUE".to_owned()),
    }
}

/// AWS's notation of a size. A number below `units_below` counts whole units, any other is meant as it is.
fn measure(text: &str, unit: &str, units_below: f64) -> Result<String, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, has_unit) = match lower.strip_suffix(&unit.to_ascii_lowercase()) {
        Some(number) => (number.trim_end(), true),
        None => (lower.as_str(), false),
    };
    match number.parse::<f64>() {
        Ok(amount) if amount > 0.0 && (has_unit || amount < units_below) => Ok(format!("{amount} {unit}")),
        Ok(amount) if amount.fract() == 0.0 && amount > 0.0 => Ok(format!("{amount}")),
        _ => Err(format!("give a number, or a number of {unit}")),
    }
}

pub(super) async fn run(client: &Client, arguments: Arguments) -> Result<ExitCode> {
    let target = Target::read(&arguments.target, Path::is_dir)?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => target.service_name()?,
    };
    source::check_name(&name)?;
    check(client, &target, &arguments).await?;
    let progress = Progress::new(format!("deploying {name}"));
    let found = client.find(&name).await?;
    if found.as_ref().is_some_and(|found| found.status == ServiceStatus::OperationInProgress) {
        bail!(
            "another operation of '{name}' is in progress, as 'apron status {name}' shows; deploy again after it"
        );
    }
    let wanted = Wanted::of(client, &target, &arguments, &progress).await?;
    let (arn, ended) = match found {
        None => create(client, &name, wanted, &progress).await?,
        Some(found) => {
            progress.message(format!("updating {name}"));
            let ended = update(client, &found, wanted, &progress).await?;
            (found.arn, ended)
        }
    };
    drop(progress);
    finish(client, &name, &arn, &ended).await
}

/// What can be found wrong before anything is sent or changed.
async fn check(client: &Client, target: &Target, arguments: &Arguments) -> Result<()> {
    if arguments.branch.is_some() && !matches!(target, Target::Git(_)) {
        bail!("--branch is for git repositories, and '{}' is none", arguments.target);
    }
    if let Target::Directory(directory) = target {
        check_manifest(directory)?;
    }
    let Some(word) = target.bare_word() else { return Ok(()) };
    let images = client.call(&ListImagesRequest {}).await?.images;
    let means = |name: &str| name.strip_suffix(":latest").unwrap_or(name) == word;
    if !images.iter().any(|image| image.origin == ImageOrigin::Imported && means(&image.name)) {
        bail!(
            "there is no directory and no imported image '{word}'; an image of Docker Hub is written \
             docker.io/library/{word}"
        );
    }
    Ok(())
}

/// What the service is to be. Of what a file can say, it says the whole: what is not given is the file's again.
struct Wanted {
    source: SourceConfiguration,
    /// None: as it is, or the default.
    instance: Option<InstanceConfiguration>,
    /// The variables and the port that are given win over those of `apprunner.yaml`.
    over_file: bool,
    /// The same source may stand for something newer, as a branch and a tag do.
    moves: bool,
}

impl Wanted {
    /// Uploads what has to be uploaded.
    async fn of(
        client: &Client,
        target: &Target,
        arguments: &Arguments,
        progress: &Progress,
    ) -> Result<Wanted> {
        let sized = arguments.cpu.is_some() || arguments.memory.is_some();
        let values_given = arguments.port.is_some() || !arguments.env.is_empty();
        Ok(Wanted {
            source: source_of(client, target, arguments, progress).await?,
            instance: sized.then(|| InstanceConfiguration {
                cpu: arguments.cpu.clone(),
                memory: arguments.memory.clone(),
                instance_role_arn: None,
            }),
            over_file: values_given && !matches!(target, Target::Image(_)),
            moves: !matches!(target, Target::Directory(_)),
        })
    }
}

async fn create(client: &Client, name: &str, wanted: Wanted, progress: &Progress) -> Result<(String, Ended)> {
    progress.message(format!("creating {name}"));
    let mut input = CreateServiceRequest::new(name.to_owned(), wanted.source);
    input.instance_configuration = wanted.instance;
    input.tags = wanted.over_file.then(|| vec![merge_tag("api")]);
    let created = client.call(&input).await?;
    let arn = created.service.service_arn;
    let ended = follow::deployment(client, &arn, &created.operation_id, progress).await?;
    Ok((arn, ended))
}

async fn update(client: &Client, found: &Found, wanted: Wanted, progress: &Progress) -> Result<Ended> {
    let described = DescribeServiceRequest { service_arn: found.arn.clone() };
    let before = client.call(&described).await?.service;
    progress.line(&format!("Updating the service '{}'.", before.service_name));
    let moves = wanted.moves;
    let (after, mut ended) = change(client, &found.arn, wanted, progress).await?;
    let paused = found.status == ServiceStatus::Paused;
    // A paused service only takes the new configuration; its resume deploys it.
    if paused && ended.succeeded() {
        ended = resume(client, &found.arn, progress).await?;
    }
    // An update of something else keeps the image, and so does a resume. Here the source as it is now is what was
    // asked for; a directory that is the same is built the same.
    let image_kept = before.source_configuration == after.source_configuration
        && (paused || before.instance_configuration != after.instance_configuration);
    if ended.succeeded() && image_kept && moves {
        let started = client.call(&StartDeploymentRequest { service_arn: found.arn.clone() }).await?;
        ended = follow::deployment(client, &found.arn, &started.operation_id, progress).await?;
    }
    Ok(ended)
}

/// Updates the service; gives it as it is then, and how the update ended.
async fn change(client: &Client, arn: &str, wanted: Wanted, progress: &Progress) -> Result<(Service, Ended)> {
    // UpdateService carries no tags, and its operation reads them as soon as it likes. So the tag comes first, and
    // goes again with an update that is refused or fails.
    let tagged = if wanted.over_file { Some(Tagged::put(client, arn).await?) } else { None };
    let mut input = UpdateServiceRequest::new(arn.to_owned());
    input.source_configuration = Some(wanted.source);
    input.instance_configuration = wanted.instance;
    let (deployed, failed) = match client.call(&input).await {
        Ok(updated) => {
            let followed = follow::deployment(client, arn, &updated.operation_id, progress).await;
            // An operation whose end was not seen may go on, and needs the tag.
            let failed = followed.as_ref().is_ok_and(|ended| !ended.succeeded());
            (followed.map(|ended| (updated.service, ended)), failed)
        }
        Err(error) => {
            let refused = error.is::<Refused>();
            (Err(error), refused)
        }
    };
    if let Some(tagged) = tagged.filter(|_| failed)
        && let Err(error) = tagged.undo(client, arn).await
    {
        progress.line(&format!("the tag {} could not be put back: {error:#}", CONFIG_MERGE.tag));
    }
    deployed
}

/// The tag by which given values win over the file's, and what it was before.
struct Tagged {
    before: Option<String>,
}

impl Tagged {
    async fn put(client: &Client, arn: &str) -> Result<Tagged> {
        let listed = client.call(&ListTagsForResourceRequest { resource_arn: arn.to_owned() }).await?;
        let before = listed.tags.unwrap_or_default().into_iter();
        let before =
            before.filter(|tag| tag.key.as_deref() == Some(CONFIG_MERGE.tag)).find_map(|tag| tag.value);
        set_merge_tag(client, arn, "api").await?;
        Ok(Tagged { before })
    }

    async fn undo(self, client: &Client, arn: &str) -> Result<()> {
        if let Some(value) = self.before {
            return set_merge_tag(client, arn, &value).await;
        }
        let tag_keys = vec![CONFIG_MERGE.tag.to_owned()];
        client.call(&UntagResourceRequest { resource_arn: arn.to_owned(), tag_keys }).await?;
        Ok(())
    }
}

async fn set_merge_tag(client: &Client, arn: &str, value: &str) -> Result<()> {
    client.call(&TagResourceRequest { resource_arn: arn.to_owned(), tags: vec![merge_tag(value)] }).await?;
    Ok(())
}

fn merge_tag(value: &str) -> Tag {
    Tag { key: Some(CONFIG_MERGE.tag.into()), value: Some(value.to_owned()) }
}

async fn resume(client: &Client, arn: &str, progress: &Progress) -> Result<Ended> {
    let resumed = client.call(&ResumeServiceRequest { service_arn: arn.to_owned() }).await?;
    match resumed.operation_id {
        Some(operation) => follow::deployment(client, arn, &operation, progress).await,
        None => bail!("the service was resumed by somebody else meanwhile"),
    }
}

/// The URL, or why there is no new version behind it.
async fn finish(client: &Client, name: &str, arn: &str, ended: &Ended) -> Result<ExitCode> {
    let status = client.call(&DescribeStatusRequest { service_arn: arn.to_owned() }).await?;
    if !ended.succeeded() {
        bail!("{}", not_deployed(name, &status, &ended.because()));
    }
    match status.url {
        Some(url) => progress::print(&url),
        None => bail!("'{name}' is deployed, but has no URL"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is in place of a new version, and why.
fn not_deployed(name: &str, status: &DescribeStatusResponse, reason: &str) -> String {
    match status.status {
        apron::ServiceStatus::CreateFailed => {
            format!("'{name}' was not created ('apron rm {name}' takes away what is left): {reason}")
        }
        apron::ServiceStatus::Running if serves(status) => {
            format!("the new version of '{name}' does not serve; the version before it serves on: {reason}")
        }
        apron::ServiceStatus::Running => format!(
            "the new version of '{name}' does not serve, and at present the version before it does not either: {reason}"
        ),
        _ => format!("the new version of '{name}' does not serve: {reason}"),
    }
}

/// Whether an instance of the active revision is well.
fn serves(status: &DescribeStatusResponse) -> bool {
    let is_well =
        |one: &InstanceStatus| one.phase == InstancePhase::Running && one.health == InstanceHealth::Healthy;
    let mut active = status.revisions.iter().filter(|revision| revision.state == RevisionState::Active);
    active.any(|revision| revision.instances.iter().any(is_well))
}

/// What the service is made of, once it is uploaded.
async fn source_of(
    client: &Client,
    target: &Target,
    arguments: &Arguments,
    progress: &Progress,
) -> Result<SourceConfiguration> {
    let env: BTreeMap<String, String> = arguments.env.iter().cloned().collect();
    let env = (!env.is_empty()).then_some(env);
    let port = arguments.port.map(|port| port.to_string());
    let (repository_url, branch) = match target {
        Target::Image(reference) => {
            let public = reference.starts_with("public.ecr.aws/");
            let kind = if public { ImageRepositoryType::EcrPublic } else { ImageRepositoryType::Ecr };
            let mut image = ImageRepository::new(reference.clone(), kind);
            image.image_configuration = Some(ImageConfiguration {
                runtime_environment_variables: env,
                start_command: arguments.start_command.clone(),
                port,
                runtime_environment_secrets: None,
            });
            return Ok(SourceConfiguration { image_repository: Some(image), ..by_hand() });
        }
        Target::Git(_) | Target::Directory(_) if arguments.start_command.is_some() => {
            bail!(
                "--start-command is for images; what is built from source is started as its apprunner.yaml says"
            )
        }
        Target::Git(url) => (url.clone(), branch(arguments, url)),
        Target::Directory(directory) => (send(client, directory, progress).await?, BRANCH.to_owned()),
    };
    let mut values = CodeConfigurationValues::new(RUNTIME_OF_FILE);
    let any = env.is_some() || port.is_some();
    values.runtime_environment_variables = env;
    values.port = port;
    let version = SourceCodeVersion { r#type: SourceCodeVersionType::Branch, value: branch };
    let mut repository = CodeRepository::new(repository_url, version);
    repository.code_configuration = Some(CodeConfiguration {
        configuration_source: ConfigurationSource::Repository,
        code_configuration_values: any.then_some(values),
    });
    Ok(SourceConfiguration { code_repository: Some(repository), ..by_hand() })
}

/// Who deploys by hand has asked for no deployments at each push.
fn by_hand() -> SourceConfiguration {
    SourceConfiguration { auto_deployments_enabled: Some(false), ..Default::default() }
}

/// The branch as given, else the one that a repository on this machine has checked out.
fn branch(arguments: &Arguments, url: &str) -> String {
    let head = || {
        let path = Path::new(url.strip_prefix("file://")?);
        let head = std::fs::read_to_string(path.join(".git/HEAD"))
            .or_else(|_| std::fs::read_to_string(path.join("HEAD")))
            .ok()?;
        Some(head.trim().strip_prefix("ref: refs/heads/")?.to_owned())
    };
    arguments.branch.clone().or_else(head).unwrap_or_else(|| BRANCH.to_owned())
}

/// Packs and uploads a directory; gives the URL by which the service names it.
async fn send(client: &Client, directory: &Path, progress: &Progress) -> Result<String> {
    progress.message(format!("packing {}", directory.display()));
    let mut packed = pack::pack(directory)?;
    for skipped in &packed.skipped {
        progress.line(&format!("left out, since it is no file: {}", skipped.display()));
    }
    let total = packed.bytes;
    progress.line(&format!("Uploading {} files, {} compressed.", packed.files, bytes(total)));
    let sent = |sent: u64| progress.message(format!("uploading {} of {}", bytes(sent), bytes(total)));
    let stored = upload::upload(client, UploadKind::Source, &mut packed.file, sent).await?;
    stored.repository_url.context("the platform did not say where it stored the source")
}

/// Reads the directory's `apprunner.yaml` here, so that a mistake in it shows before anything is sent.
fn check_manifest(directory: &Path) -> Result<()> {
    let path = directory.join(MANIFEST);
    if !path.is_file() {
        let other = directory.join("apprunner.yml");
        if other.is_file() {
            bail!("the file must be called {MANIFEST}: rename {}", other.display());
        }
        bail!(
            "{} has no {MANIFEST}, which says how to build and run it. A small one:\n\n{MANIFEST_EXAMPLE}\n\
             To run an image instead: apron deploy REGISTRY/NAME:TAG",
            directory.display()
        );
    }
    let length = std::fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > limits::MANIFEST_BYTES_MAX as u64 {
        bail!("{} has {length} bytes; at most {} are read", path.display(), limits::MANIFEST_BYTES_MAX);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (parsed, problems) = manifest::parse(&text);
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for problem in &problems {
        match problem.severity {
            Severity::Error => errors.push(format!("{}: {problem}", path.display())),
            Severity::Warning => warnings.push(format!("warning: {}: {problem}", path.display())),
        }
    }
    for warning in warnings {
        eprintln!("{warning}");
    }
    if parsed.is_none() || !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, expect) in [("1", "1 vCPU"), ("0.5", "0.5 vCPU"), ("2vcpu", "2 vCPU"), ("1024", "1024")] {
            assert_eq!(measure(text, "vCPU", 64.0).as_deref(), Ok(expect));
        }
        for (text, expect) in [("2", "2 GB"), ("0.5 GB", "0.5 GB"), ("2048", "2048")] {
            assert_eq!(measure(text, "GB", 128.0).as_deref(), Ok(expect));
        }
        for wrong in ["", "x", "-1", "0", "1000.5", "NaN"] {
            assert!(measure(wrong, "GB", 128.0).is_err(), "{wrong}");
        }
    }

    #[test]
    fn it_is_told_whether_the_version_before_serves() {
        let instance = InstanceStatus {
            instance_id: "a".to_owned(),
            phase: InstancePhase::Running,
            health: InstanceHealth::Healthy,
            reason: None,
            address: None,
            restarts: 0,
            rung: None,
            waterfall: apron::Waterfall::default(),
        };
        let said = |status, state, health| {
            let instances = vec![InstanceStatus { health, ..instance.clone() }];
            let revision = apron::RevisionStatus { number: 1, state, image: None, commit: None, instances };
            let status = DescribeStatusResponse {
                status,
                reason: None,
                url: None,
                revisions: vec![revision],
                provisioned_instances: None,
                active_instances: None,
                operation: None,
            };
            not_deployed("web", &status, "it ended")
        };
        use InstanceHealth::{Healthy, Starting};
        use RevisionState::{Active, Failed};
        use apron_wire::apron::ServiceStatus::{CreateFailed, Paused, Running};
        let neither = "and at present the version before it does not either: it ended";
        for (status, state, health, expect) in [
            (Running, Active, Healthy, "does not serve; the version before it serves on: it ended"),
            (Running, Active, Starting, neither),
            (Running, Failed, Healthy, neither),
            (CreateFailed, Failed, Healthy, "'apron rm web' takes away what is left): it ended"),
            (Paused, Active, Starting, "the new version of 'web' does not serve: it ended"),
        ] {
            let said = said(status, state, health);
            assert!(said.ends_with(expect), "{said}");
        }
    }

    #[test]
    fn the_example_is_a_valid_manifest() {
        let (parsed, problems) = manifest::parse(MANIFEST_EXAMPLE);
        assert!(parsed.is_some() && problems.is_empty(), "{problems:?}");
    }
}
