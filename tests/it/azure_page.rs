//! The commands of docs/azure.md, word by word and in order, in one shell: against scripted endpoints, a scripted `az`, and a scripted
//! compiler for the handler in the package.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use incident_labs::settings::process_environment;
use tokio::process::Command;

use crate::{
    azure_deploy::ready,
    deployed_app::{DeployedApp, GROUP, WORKSPACE, assert_clean},
    harness::{LAB, Scratch},
    package::static_handler,
    scripted_azure::SUBSCRIPTION,
    tidy::root,
};

/// What a block of the page says: its commands, and the output shown for each.
fn steps(page: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        let mut is_continued = false;
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), is_continued) {
                (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
                (None, true) => steps.last_mut().unwrap().0 += &format!("\n{line}"),
                (None, false) => steps.last_mut().unwrap().1.push(line.to_owned()),
            }
            is_continued = line.ends_with('\\');
        }
    }
    steps
}

/// `az` as far as the page needs it. Whatever else it is asked is a mistake of the page.
const AZ: &str = r#"#!/bin/bash
case "$*" in
  'login' | 'account set --subscription '*) ;;
  'account show --query id --output tsv') echo SUBSCRIPTION ;;
  'bicep build --file infra/main.bicep --stdout') echo '{"resources": []}' ;;
  'deployment group show '*'outputs.appName.value'*) echo labs-app ;;
  'deployment group show '*'outputs.workspaceCustomerId.value'*) echo WORKSPACE ;;
  'deployment group show '*'outputs.dataAccountName.value'*) echo labsdata ;;
  'functionapp identity show --resource-group GROUP --name labs-app '*) echo 99999999-aaaa-4bbb-8ccc-00000000000a ;;
  'storage account show --resource-group GROUP --name labsdata '*) echo /subscriptions/x/labsdata ;;
  'role assignment list --assignee 99999999-'*' --scope /subscriptions/x/labsdata '*)
    printf '%s\n' 'Storage Account Contributor' 'Storage Blob Data Owner' 'Storage File Data Privileged Contributor' \
      'Storage Queue Data Contributor' 'Storage Table Data Contributor' ;;
  'group exists --name GROUP') echo false ;;
  *) echo "az $*: not scripted" >&2; exit 9 ;;
esac
"#;

const CARGO: &str = r#"#!/bin/bash
case "$1" in
  lab) shift; exec LAB "$@" ;;
  build) echo '{"reason":"compiler-artifact","target":{"name":"handler"},"executable":"HANDLER"}' ;;
  *) exit 9 ;;
esac
"#;

#[tokio::test]
async fn the_page_runs_from_az_login_to_the_end_of_the_group() {
    let scratch = Scratch::new();
    let (bin, handler) = (scratch.path().join("bin"), static_handler(&scratch));
    fs::create_dir(&bin).unwrap();
    let tool = |name: &str, text: String| {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let page = fs::read_to_string(root().join("docs/azure.md")).unwrap().replace("rg-incident-labs", GROUP);
    tool("az", AZ.replace("SUBSCRIPTION", SUBSCRIPTION).replace("WORKSPACE", WORKSPACE).replace("GROUP", GROUP));
    tool("cargo", CARGO.replace("LAB", LAB.to_str().unwrap()).replace("HANDLER", handler.to_str().unwrap()));
    tool("rustc", format!("#!/bin/sh\necho {}\n", bin.display()));

    let steps = steps(&page);
    assert!(steps.first().unwrap().0 == "az login" && page.contains("az group delete"));
    for command in ["cargo lab deploy", "cargo lab doctor", "cargo lab clean"] {
        assert!(steps.iter().any(|it| it.0.starts_with(command)), "{command} is not on the page");
    }
    let mut script = String::from("set -eu\n");
    for (number, (command, _)) in steps.iter().enumerate() {
        script += &format!("echo '=== {number}'\n{command}\n");
    }
    let endpoints = ready(DeployedApp::healthy()).await;
    let path = format!("{}:{}", bin.display(), process_environment()["PATH"]);
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(scratch.path())
        .env("PATH", path)
        .env("CARGO", bin.join("cargo"))
        .env("INCIDENT_LAB_AZURE", &endpoints.url)
        .env_remove("AZURE_SUBSCRIPTION_ID")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{said}");
    assert_clean(&format!("{told}{said}"));
    for (number, (command, shown)) in steps.iter().enumerate().filter(|it| !it.1.1.is_empty()) {
        let after = told.split_once(&format!("=== {number}\n")).unwrap().1;
        let printed: Vec<&str> = after.split("=== ").next().unwrap().lines().collect();
        assert_eq!(printed, *shown, "output of {command}");
    }
    let asked = endpoints.asked();
    let count =
        |method: &str, part: &str| asked.iter().filter(|it| it.method == method && it.url.contains(part)).count();
    assert_eq!((count("POST", "/api/zipdeploy"), count("DELETE", "/resourceGroups/")), (2, 1));
}
