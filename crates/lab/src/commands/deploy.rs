//! `lab deploy`: infrastructure, package, settings and examination in one, each step shown as the `az` command it stands for.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;
use tokio::process::Command;

use super::{
    doctor_azure::examined,
    on_azure::{Subscription, show_plan, watched},
    package::{make_one, tell_findings},
};
use crate::{
    app::package::{PACKAGES, Package},
    azure::{
        Azure, AzureError, Site,
        deploy::{self, Outputs, Parameters},
        doctor, group_name, prices,
    },
    machine::{
        checkout,
        exit::{EXIT_OK, EXIT_WRONG, interruption},
        terminal::{Paint, err, out},
    },
};
use incident_labs::blob::Variant;

/// Where a resource group is made when nothing says where: the guides' region.
const REGION: &str = "koreacentral";
const TEMPLATE: &str = "infra/main.bicep";
/// What follows the name of a package in its file's name.
const SUFFIX: &str = "-app.zip";
/// For roles to spread and for the host to find its functions.
const SETTLED: Duration = Duration::from_secs(10 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The steps, in order.
const STEPS: [&str; 6] = ["package", "resource group", "template", "push", "settings", "doctor"];

/// Put the labs on Azure: resource group, template, package, settings, and then the doctor.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab deploy --resource-group rg-labs --allowed-addresses 203.0.113.7/32
             cargo lab deploy --resource-group rg-labs --allowed-addresses 203.0.113.7/32 --plan
Costs:       said before it begins. An EP1 instance bills until `cargo lab clean --resource-group GROUP`
Exit codes:  0 deployed, and nothing hinders a lab; 1 something does; 2 a check gave no answer; 3 it could not run; 64 usage")]
pub struct Deploy {
    /// The resource group; it is made if it is not there.
    #[arg(long, value_name = "GROUP", value_parser = group_name)]
    resource_group: String,
    /// Region, for a group that is not there and for what is in it [default: the group's, else koreacentral].
    #[arg(long, value_name = "REGION", value_parser = region)]
    location: Option<String>,
    /// Which package.
    #[arg(long, default_value = "oom-buffering", value_parser = PossibleValuesParser::new(packages()).map(|it| named(&it)))]
    package: &'static Package,
    /// Ranges that may call the HTTP functions, which ask for no key: 203.0.113.7/32. 0.0.0.0/0 admits everyone.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', required = true, value_parser = range)]
    allowed_addresses: Vec<String>,
    /// Object id of the user who sends the load [default: yours].
    #[arg(long, value_name = "ID", value_parser = super::on_azure::guid)]
    operator: Option<String>,
    /// GB of telemetry a day that the workspace takes.
    #[arg(long, value_name = "GB", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    daily_quota_gb: u32,
    /// A template that `az bicep build` has made, instead of building infra/main.bicep.
    #[arg(long, value_name = "JSON")]
    template: Option<PathBuf>,
    /// Push this zip instead of making one.
    #[arg(long, value_name = "ZIP", conflicts_with = "handler")]
    zip: Option<PathBuf>,
    /// Make the package with this handler instead of building a static one.
    #[arg(long)]
    handler: Option<PathBuf>,
    #[command(flatten)]
    subscription: Subscription,
    /// Print every request instead of sending it.
    #[arg(long)]
    plan: bool,
    /// With --plan: print it as one line of JSON.
    #[arg(long, requires = "plan")]
    json: bool,
}

/// What is done and what is not.
#[derive(Debug, Default)]
struct Progress {
    step: AtomicUsize,
    is_quiet: bool,
}

impl Progress {
    /// A step begins, so those before it are done.
    fn begin(&self, step: usize, why: &str, az: &str) {
        self.step.store(step, Ordering::Relaxed);
        if !self.is_quiet {
            out(&format!("{}/{}  {why}\n     $ {az}", step + 1, STEPS.len()));
        }
    }

    /// For a person who stops here.
    fn told(&self, group: &str) -> String {
        let step = self.step.load(Ordering::Relaxed);
        let list = |steps: &[&str]| if steps.is_empty() { "nothing".to_owned() } else { steps.join(", ") };
        let mut text = format!(
            "done: {}; under way: {}; not done: {}",
            list(&STEPS[..step]),
            STEPS[step],
            list(&STEPS[step + 1..])
        );
        if step == 2 {
            text += &format!(
                "\nAzure goes on with the template; to stop it: az deployment group cancel --resource-group {group} --name {}",
                deploy::DEPLOYMENT
            );
        }
        if step > 0 {
            text += &format!(
                "\nWhat is there bills: the same command goes on, and `cargo lab clean --resource-group {group}` removes it"
            );
        }
        text
    }
}

impl Deploy {
    /// Deploys, and gives the doctor's exit code.
    ///
    /// # Errors
    /// When a step fails, or it is interrupted: then what was done is said.
    pub async fn run(self) -> anyhow::Result<u8> {
        let azure = self.subscription.open(self.plan)?;
        let progress = Progress { is_quiet: self.plan, ..Progress::default() };
        let outcome = tokio::select! {
            outcome = self.steps(&azure, &progress) => outcome,
            error = interruption() => Err(error),
        };
        if self.plan {
            outcome?;
            show_plan(&azure, self.json)?;
            return Ok(EXIT_OK);
        }
        if outcome.is_err() {
            err(&progress.told(&self.resource_group));
        }
        outcome
    }

    async fn steps(&self, azure: &Azure, progress: &Progress) -> anyhow::Result<u8> {
        let group = &self.resource_group;
        let found = deploy::location(azure, group).await?;
        let location = self.location.as_deref().or(found.as_deref()).unwrap_or(REGION);
        let cost = prices::cost(azure, location, HOUR).await;
        if !self.plan {
            out(&cost);
        }
        let Some(zip) = self.zip(progress)? else { return Ok(EXIT_WRONG) };
        let operator = self.operator(azure).await?;

        let create = deploy::create_group(group, location);
        progress.begin(1, &create.why, create.az.as_deref().unwrap_or_default());
        deploy::ensure_group(azure, group, found.is_some(), location).await?;
        let outputs = self.infrastructure(azure, progress, operator).await?;
        let site = Site { app: outputs.app.clone(), resource_group: group.clone() };
        let push = deploy::push_call(&site, &zip);
        progress.begin(3, &push.why, push.az.as_deref().unwrap_or_default());
        watched(&push.why, deploy::push(azure, &site, &zip)).await?;
        self.settings(azure, progress, &site).await?;
        self.examine(azure, progress, &site, &outputs).await
    }

    /// The package, looked into before anything is begun on Azure; nothing where something is wrong with it.
    fn zip(&self, progress: &Progress) -> anyhow::Result<Option<PathBuf>> {
        let folder = Path::new("artifacts");
        if self.plan {
            return Ok(Some(self.zip.clone().unwrap_or_else(|| folder.join(self.package.file))));
        }
        let zip = match &self.zip {
            Some(zip) => {
                progress.begin(0, "look into the package", &format!("cargo lab package --check {}", zip.display()));
                zip.clone()
            }
            None => {
                progress.begin(0, "make the package", "cargo lab package");
                make_one(self.package, self.handler.clone(), folder)?
            }
        };
        let is_good = tell_findings(&zip).with_context(|| format!("read {}", zip.display()))?;
        if !is_good {
            err(&format!("{} would not run: nothing was begun on Azure", zip.display()));
        }
        Ok(is_good.then_some(zip))
    }

    async fn operator(&self, azure: &Azure) -> anyhow::Result<String> {
        if let Some(id) = &self.operator {
            return Ok(id.clone());
        }
        match deploy::signed_in_user(azure).await {
            Ok(id) => Ok(id),
            Err(error @ AzureError::Refused { .. }) => {
                Err(error).context("your object id gets the load's roles: give one with --operator")
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn infrastructure(&self, azure: &Azure, progress: &Progress, operator: String) -> anyhow::Result<Outputs> {
        let parameters = Parameters {
            location: self.location.clone(),
            preset: self.package.variant.unwrap_or(Variant::Buffering).name(),
            operator,
            allowed_addresses: self.allowed_addresses.clone(),
            daily_quota_gb: self.daily_quota_gb,
        };
        let group = &self.resource_group;
        let planned =
            deploy::template_call(group, "{what az bicep build makes of infra/main.bicep}".into(), &parameters);
        progress.begin(2, &planned.why, planned.az.as_deref().unwrap_or_default());
        let call = if self.plan { planned } else { deploy::template_call(group, self.template().await?, &parameters) };
        watched(&call.why, azure.send(&call)).await.with_context(|| {
            format!("see az deployment operation group list --resource-group {group} --name {}", deploy::DEPLOYMENT)
        })?;
        Ok(deploy::outputs(azure, group).await?)
    }

    /// The template as Resource Manager takes it: Bicep's compiler comes with `az`.
    async fn template(&self) -> anyhow::Result<Value> {
        if let Some(path) = &self.template {
            let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            return serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()));
        }
        let checkout = checkout::find()
            .context("the template is in a checkout of the project: run the lab there, or give --template")?;
        let build = Command::new("az")
            .args(["bicep", "build", "--file", TEMPLATE, "--stdout"])
            .current_dir(checkout)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = watched("build the template", build).await.context(
            "run `az bicep build` (https://learn.microsoft.com/cli/azure/install-azure-cli), or give a built template with --template",
        )?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`az bicep build --file {TEMPLATE}` failed: {}", said.trim());
        }
        serde_json::from_slice(&output.stdout).context("`az bicep build` wrote no JSON")
    }

    /// The template has set the package's preset; an app that was there before may have another one.
    async fn settings(&self, azure: &Azure, progress: &Progress, site: &Site) -> anyhow::Result<()> {
        let changes = self.package.variant.map(Variant::settings).unwrap_or_default();
        let pairs: Vec<String> = changes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let az = format!("{} --settings {}", site.az("config appsettings set"), pairs.join(" "));
        progress.begin(4, "set the preset, and keep the other settings", &az);
        let is_written = deploy::set(azure, site, &changes).await?;
        if !is_written && !self.plan {
            out("     the settings are so already");
        }
        Ok(())
    }

    async fn examine(&self, azure: &Azure, progress: &Progress, site: &Site, outputs: &Outputs) -> anyhow::Result<u8> {
        let doctor = format!("cargo lab doctor --app {} --resource-group {} --wait", site.app, site.resource_group);
        progress.begin(5, "examine the app", &doctor);
        if self.plan {
            doctor::examine(azure, site, Some(&outputs.workspace), &mut |_| {}).await?;
            return Ok(EXIT_OK);
        }
        let seen = examined(azure, site, Some(&outputs.workspace), Some(SETTLED)).await?;
        out(&seen.render(Paint::on_stdout()));
        out(&format!(
            "\nApp {}, data account {}, workspace {}. It bills until: cargo lab clean --resource-group {}",
            outputs.app, outputs.account, outputs.workspace, site.resource_group
        ));
        Ok(seen.exit_code())
    }
}

fn packages() -> Vec<&'static str> {
    PACKAGES.iter().map(|it| it.file.strip_suffix(SUFFIX).unwrap_or(it.file)).collect()
}

fn named(name: &str) -> &'static Package {
    PACKAGES.iter().find(|it| it.file.strip_suffix(SUFFIX) == Some(name)).unwrap_or(&PACKAGES[0])
}

fn region(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric());
    if is_name { Ok(text.to_lowercase()) } else { Err("must be a region's name, as koreacentral".to_owned()) }
}

/// Reads a range: an address of version 4 or 6, and how many bits of it count.
fn range(text: &str) -> Result<String, String> {
    let wrong = || "must be a range of addresses, as 203.0.113.7/32".to_owned();
    let (address, bits) = text.trim().split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits: u8 = bits.parse().map_err(|_| wrong())?;
    if bits <= if address.is_ipv4() { 32 } else { 128 } { Ok(format!("{address}/{bits}")) } else { Err(wrong()) }
}
