//! host.json, function.json and local.settings.json as .NET reads them: the same to the handler, `lab start` and `package --check`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::json;
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{
    harness::{HANDLER, LAB, LabProcess, Scratch, eventually},
    stand_in::probe_path,
};

const SOON: Duration = Duration::from_secs(30);

/// As the documentation and Windows editors write it: a mark, comments, commas at the end, names in any case.
const HOST: &str = "\u{feff}{ // the host's own settings
  'Version': '2.0', /* text */
  \"FunctionTimeout\": \"1.00:00:00\",
  \"CustomHandler\": { \"Description\": { \"DefaultExecutablePath\": \"./bin/probe\", }, },
  \"Extensions\": { \"HTTP\": { \"ROUTEPREFIX\": \"v1\" } },
}";
const LOCAL: &str = "{ // of this machine
  \"isEncrypted\": false,
  \"values\": {
    \"Part\": \"orders\", \"Box\": \"texts\", \"azurewebjobs.off.DISABLED\": \"True\",
    \"AZUREWEBJOBSSTORAGE\": \"usedevelopmentstorage=TRUE;\",
  },
}";

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let file = root.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
}

/// A function over HTTP, its properties in other cases than usual.
fn function(route: &str) -> String {
    format!(
        "\u{feff}{{ \"Bindings\": [ // in and out
            {{ \"Type\": \"httpTrigger\", \"NAME\": \"req\", \"Direction\": \"in\", \"Route\": \"{route}\", \"Methods\": [\"post\",] }},
            {{ \"type\": \"http\", \"name\": \"res\", \"direction\": \"out\" }}, ] }}"
    )
}

fn app(scratch: &Scratch) -> PathBuf {
    let root = scratch.path().join("app");
    write(&root, &[("host.json", HOST), ("local.settings.json", LOCAL)]);
    for (name, route) in [("All", "%part%/{*rest}"), ("One", "%PART%/{id:int?}"), ("Off", "off")] {
        write(&root, &[(&format!("{name}/function.json"), &function(route))]);
    }
    let blob = "{ 'bindings': [{ 'TYPE': 'blobTrigger', 'Name': 'blob', 'Path': '%BOX%/{name}' }] }";
    write(&root, &[("OnBlob/function.json", blob)]);
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(probe_path(), root.join("bin/probe")).unwrap();
    root
}

#[tokio::test]
async fn an_app_is_served_as_dotnet_reads_its_files() {
    let scratch = Scratch::new();
    let root = app(&scratch);
    let arguments = ["--script-root", root.to_str().unwrap(), "--port", "0"];
    let lab = LabProcess::serve(&scratch.path().join("run"), &arguments).await;
    assert!(lab.printed().contains("Function 'Functions.Off' is disabled"), "{}", lab.printed());
    let text = lab.printed();
    let base = text.split_whitespace().find_map(|it| it.split_once("/v1/orders/")).expect("a route is told").0;

    let reply = json!({ "Outputs": { "res": { "statusCode": 200, "body": "answered" } } }).to_string();
    let script = json!({ "reply": { "code": 200, "type": "application/json", "body": reply } }).to_string();
    let client = crate::handler::http_client();
    let mut called = 0;
    for (path, served_by) in [
        ("orders/7", Some("One")),
        ("orders", Some("One")),
        ("orders/seven", Some("All")),
        ("orders/7/lines/1", Some("All")),
        ("off", None),
        ("other", None),
    ] {
        let answer = client.post(format!("{base}/v1/{path}")).body(script.clone()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), if served_by.is_some() { 200 } else { 404 }, "{path}");
        let Some(function) = served_by else { continue };
        called += 1;
        let rows = eventually(SOON, async || Some(lab.rows("requests")).filter(|it| it.len() == called)).await;
        assert_eq!(rows[called - 1]["name"], function, "{path}");
    }
    lab.storage.container("texts").get_properties(None).await.expect("the trigger's container is made");
}

/// Starts the handler on a script root with this host.json; gives its exit code and what it said.
fn handler_on(host_json: &str, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let scratch = Scratch::new();
    write(&scratch.path(), &[("host.json", host_json), ("BlobBufferProcessor/function.json", "{}")]);
    let output = Command::new("timeout")
        .args(["--signal=TERM", "1", HANDLER])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", "0")
        .env("FUNCTIONS_APP_ROOT_PATH", scratch.path())
        .env("AzureWebJobsStorage", "UseDevelopmentStorage=true")
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_handler_refuses_a_host_json_that_cannot_be_read_and_never_takes_a_default_instead() {
    for (host, settings, says) in [
        ("{\n\"functionTimeout\": \"ten\" }", &[][..], "host.json: line 2: functionTimeout is no time span"),
        ("{\n\"functionTimeout\": \"00:00:18446744073709549568\" }", &[], "host.json: line 2: functionTimeout "),
        ("{\n\n\"functionTimeout\" }", &[], "host.json: line 3: a colon"),
        ("{", &[], "host.json: line 1: "),
        ("{}", &[("AzureFunctionsJobHost__functionTimeout", "ten")], "AzureFunctionsJobHost__functionTimeout"),
    ] {
        let (code, said) = handler_on(host, settings);
        assert_eq!((code, said.lines().count()), (Some(64), 1), "{host}: {said}");
        assert!(said.contains(says), "{host}: {said}");
    }
}

#[test]
fn the_handler_starts_with_every_host_json_that_dotnet_reads() {
    for host in [
        HOST,
        "{\"functionTimeout\": -1}",
        "{\"FUNCTIONTIMEOUT\": \"10675199.02:48:05.4775807\"}",
        "{\"functionTimeout\": \"00:01\", }",
    ] {
        let (code, said) = handler_on(host, &[]);
        // It runs until it is told to stop.
        assert_eq!((code, said.as_str()), (Some(124), ""), "{host}");
    }
}

fn check(zip: &Path) -> Output {
    // Far less memory than the zips below say they need.
    let limited = "ulimit -v 1500000; exec \"$0\" package --check \"$1\"";
    Command::new("sh").args(["-c", limited]).arg(&*LAB).arg(zip).output().unwrap()
}

fn zip(path: &Path, entries: &[(&str, &[u8])]) {
    let mut zip = ZipWriter::new(fs::File::create(path).unwrap());
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

/// The head of a static program for x86-64.
fn program() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(&[0x7F, b'E', b'L', b'F', 2, 1]);
    elf[18] = 62;
    elf
}

#[test]
fn package_check_reads_what_it_vouches_for() {
    let scratch = Scratch::new();
    let file = scratch.path().join("app.zip");
    let good = function("orders/{id:int?}");
    type Entries<'a> = Vec<(&'a str, &'a [u8])>;
    let program = program();
    let app: Entries<'_> =
        vec![("host.json", HOST.as_bytes()), ("F/function.json", good.as_bytes()), ("bin/probe", &program)];
    let found = |entries: &Entries<'_>| {
        zip(&file, entries);
        let run = check(&file);
        (run.status.code(), String::from_utf8(run.stdout).unwrap())
    };
    let (code, said) = found(&app);
    assert_eq!(code, Some(0), "{said}");
    let (link, moved) = (
        HOST.replace("./bin/probe", "bin/other"),
        HOST.replace("\"./bin/probe\",", "\"bin/probe\", \"workingDirectory\": \"data\""),
    );
    let two = "{\"bindings\":[{\"type\":\"httpTrigger\",\"name\":\"req\"},{\"type\":\"queueTrigger\",\"name\":\"m\"}]}";
    let late = HOST.replace("1.00:00:00", "soon");
    let cases: [(usize, &str, &[u8], &str); 10] = [
        (1, "F/function.json", b"{ \"bindings\": [\n oops ] }", "F/function.json cannot be read: line 2"),
        (1, "F/function.json", two.as_bytes(), "F/function.json has 2 triggers"),
        (1, "F/function.json", b"{}", "F/function.json has no bindings"),
        (1, "1st/function.json", good.as_bytes(), "is no function name"),
        (0, "host.json", link.as_bytes(), "starts \"bin/other\", which is not in the zip"),
        (0, "host.json", moved.as_bytes(), "\"data\", a folder that is not in the zip"),
        (0, "host.json", late.as_bytes(), "host.json cannot be read: line 3: functionTimeout"),
        (
            0,
            "host.json",
            b"{\"customHandler\":{\"description\":{\"defaultExecutablePath\":\"bin/probe\"}}}",
            "no \"version\"",
        ),
        (2, "bin/probe", b"#!/bin/sh", "bin/probe is no ELF executable"),
        (1, "F\\function.json", good.as_bytes(), "no folder on Linux"),
    ];
    for (at, name, content, says) in cases {
        let mut changed = app.clone();
        changed[at] = (name, content);
        let (code, said) = found(&changed);
        assert!(code == Some(1) && said.contains(says), "{says}: {said}");
    }
}

#[test]
fn a_zip_bomb_is_refused_by_name_in_little_memory() {
    let scratch = Scratch::new();
    let file = scratch.path().join("bomb.zip");
    let zeros = vec![0; 8 << 20];
    zip(&file, &[("host.json", HOST.as_bytes()), ("bin/zeros", &zeros)]);
    // The headers tell of 2.1 GB: what would be made room for.
    let mut bytes = fs::read(&file).unwrap();
    let told = (zeros.len() as u32).to_le_bytes();
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == told {
            bytes[at..at + 4].copy_from_slice(&2_100_000_000_u32.to_le_bytes());
        }
    }
    fs::write(&file, bytes).unwrap();
    let run = check(&file);
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.code() == Some(1) && said.contains("bin/zeros unpacks to more than"), "{said}");
}
