//! `lab start` on an app it does not know: what its host.json names, with its local.settings.json, and nothing else assumed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    handler::http_client,
    harness::{LAB, LabProcess, Scratch, eventually},
    stand_in::probe_path,
};

const SOON: Duration = Duration::from_secs(30);

/// An app whose handler is the probe: two blob functions on containers and a connection of its own, and one over HTTP.
struct App(PathBuf);

impl App {
    fn write(folder: PathBuf) -> Self {
        let app = Self(folder);
        let description = json!({
            "defaultExecutablePath": "bin/probe",
            "workingDirectory": "data",
            "arguments": ["%FUNCTIONS_GREETING%", "%NOT_SET%"],
        });
        app.json("host.json", &json!({ "version": "2.0", "customHandler": { "description": description } }));
        let values = json!({
            "FUNCTIONS_WORKER_RUNTIME": "custom",
            "FUNCTIONS_GREETING": "hello",
            "FUNCTIONS_OTHER": "from local.settings.json",
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "Pictures": "UseDevelopmentStorage=true",
            "Container": "texts",
        });
        app.json("local.settings.json", &json!({ "IsEncrypted": false, "Values": values }));
        let blob = |path: &str, connection: &str| json!([{ "type": "blobTrigger", "name": "blob", "direction": "in", "path": path, "connection": connection }]);
        app.function("OnPicture", blob("pictures/{name}", "Pictures"));
        app.function("OnText", blob("%Container%/in/{name}.txt", "AzureWebJobsStorage"));
        let http = json!([
            { "type": "httpTrigger", "name": "req", "direction": "in", "methods": ["post"], "route": "ask/{what}" },
            { "type": "http", "name": "res", "direction": "out" },
            { "type": "queue", "name": "jobs", "direction": "out", "queueName": "jobs" },
        ]);
        app.function("Ask", http);
        fs::create_dir_all(app.0.join("bin")).unwrap();
        fs::create_dir_all(app.0.join("data")).unwrap();
        fs::copy(probe_path(), app.0.join("bin/probe")).unwrap();
        app
    }

    fn json(&self, file: &str, value: &Value) {
        let file = self.0.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, value.to_string()).unwrap();
    }

    fn function(&self, name: &str, bindings: Value) {
        self.json(&format!("{name}/function.json"), &json!({ "bindings": bindings }));
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

/// What the probe logged of its surroundings during a function's invocation: its variables, folder and arguments.
async fn surroundings(lab: &LabProcess, function: &str) -> (Value, String, String) {
    let category = format!("Function.{function}.User");
    let logged = async || {
        let rows = lab.rows("traces");
        let of_function = rows.iter().filter(|it| it["customDimensions"]["Category"] == category.as_str());
        let lines: Vec<String> = of_function.map(|it| it["message"].as_str().unwrap().to_owned()).collect();
        <[String; 3]>::try_from(lines).ok()
    };
    let [variables, folder, arguments] = eventually(SOON, logged).await;
    (serde_json::from_str(&variables).unwrap(), folder, arguments)
}

#[tokio::test]
async fn an_unknown_app_is_served_as_its_files_say() {
    let scratch = Scratch::new();
    let app = App::write(scratch.path().join("app"));
    let arguments = ["--script-root", app.path(), "--port", "0", "--set", "FUNCTIONS_OTHER=from --set"];
    let lab = LabProcess::serve(&scratch.path().join("run"), &arguments).await;

    let script = r#"{"environment":true}"#;
    lab.storage.put("pictures", "a cat.png", script, None).await.unwrap();
    lab.storage.put("texts", "in/b.txt", script, None).await.unwrap();
    lab.storage.put("texts", "elsewhere.txt", script, None).await.unwrap();
    for function in ["OnPicture", "OnText"] {
        let (variables, folder, arguments) = surroundings(&lab, function).await;
        assert_eq!(variables["FUNCTIONS_GREETING"], "hello");
        assert_eq!(variables["FUNCTIONS_OTHER"], "from --set");
        assert_eq!(variables["FUNCTIONS_APP_ROOT_PATH"], app.path());
        assert_eq!(folder, app.0.join("data").to_str().unwrap());
        assert_eq!(arguments, "hello");
    }
    let containers = ["results", "input"].map(|it| lab.storage.container(it));
    for container in containers {
        let status = container.get_properties(None).await.unwrap_err().http_status();
        assert_eq!(status, Some(azure_core::http::StatusCode::NotFound), "no container of the labs' app is made");
    }

    let reply = json!({ "Outputs": { "res": { "statusCode": 201, "body": "answered" } } });
    let script = json!({ "reply": { "code": 200, "type": "application/json", "body": reply.to_string() } });
    let url = format!("{}/api/ask/me", lab.http_url());
    let answer = http_client().post(url).body(script.to_string()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (201, "answered"));
    assert!(lab.printed().contains("not served here: Ask: queue jobs (out)"), "{}", lab.printed());
}

fn lab_start(app: &Path, arguments: &[&str]) -> Output {
    let folder = app.with_file_name("run");
    Command::new(&*LAB)
        .args(["start", "--script-root", app.to_str().unwrap(), "--folder", folder.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

/// The app's host.json with one more property, on line 2.
fn host_json_with(app: &App, property: &str) {
    let file = app.0.join("host.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, text.replacen('{', &format!("{{\n{property},\n"), 1)).unwrap();
}

/// A function over HTTP with one more property of its trigger.
fn http_with(app: &App, name: &str, property: &str, value: &str) {
    let mut trigger = json!({ "type": "httpTrigger", "name": "req", "direction": "in" });
    trigger[property] = json!(value);
    app.function(name, json!([trigger]));
}

/// An app with one fault, and what is said about it.
struct Fault {
    claim: &'static str,
    make: fn(&App),
    arguments: &'static [&'static str],
    exit: i32,
    says: &'static [&'static str],
}

const FAULTS: &[Fault] = &[
    Fault {
        claim: "no host.json",
        make: |app| fs::remove_file(app.0.join("host.json")).unwrap(),
        arguments: &[],
        exit: 3,
        says: &["app/host.json: No such file", "give --script-root a folder with host.json"],
    },
    Fault {
        claim: "no custom handler",
        make: |app| app.json("host.json", &json!({ "version": "2.0" })),
        arguments: &[],
        exit: 3,
        says: &["app/host.json: missing field", "customHandler.description.defaultExecutablePath"],
    },
    Fault {
        claim: "an executable that is not there",
        make: |app| fs::remove_file(app.0.join("bin/probe")).unwrap(),
        arguments: &[],
        exit: 3,
        says: &["app/host.json: it starts \"bin/probe\", which is neither in", "give one with --handler"],
    },
    Fault {
        claim: "raw HTTP",
        make: |app| {
            let description = json!({ "defaultExecutablePath": "bin/probe" });
            let handler = json!({ "description": description, "enableForwardingHttpRequest": true });
            app.json("host.json", &json!({ "customHandler": handler }));
        },
        arguments: &[],
        exit: 3,
        says: &["app/host.json: ", "set enableForwardingHttpRequest and enableProxyingHttpRequest to false"],
    },
    Fault {
        claim: "a connection that is no setting",
        make: |app| fs::remove_file(app.0.join("local.settings.json")).unwrap(),
        arguments: &["--set", "Container=texts"],
        exit: 3,
        says: &["app/OnPicture/function.json: its connection Pictures is no app setting", "UseDevelopmentStorage=true"],
    },
    Fault {
        claim: "storage elsewhere",
        make: |_| {},
        arguments: &["--set", "Pictures=AccountName=a;AccountKey=hunter2!"],
        exit: 3,
        says: &["app/OnPicture/function.json: its connection Pictures names storage elsewhere"],
    },
    Fault {
        claim: "a host.json that is no JSON",
        make: |app| host_json_with(app, "\"functionTimeout\" \"00:10:00\""),
        arguments: &[],
        exit: 3,
        says: &["app/host.json: line 2: a colon is missing"],
    },
    Fault {
        claim: "a time that is none",
        make: |app| host_json_with(app, "// ten minutes\n\"functionTimeout\": \"ten\""),
        arguments: &[],
        exit: 3,
        says: &["app/host.json: line 3: functionTimeout is no time span"],
    },
    Fault {
        claim: "a time that overflows",
        make: |app| host_json_with(app, "\"functionTimeout\": \"00:00:18446744073709549568\""),
        arguments: &[],
        exit: 3,
        says: &["app/host.json: line 2: functionTimeout "],
    },
    Fault {
        claim: "a parallelism beyond all numbers",
        make: |app| {
            host_json_with(app, "\"extensions\": {\"blobs\": {\"maxDegreeOfParallelism\": 9223372036854775807 } }")
        },
        arguments: &[],
        exit: 3,
        says: &[
            "app/host.json: line 2: extensions.blobs.maxDegreeOfParallelism is not a whole number from 1 to 2147483647",
        ],
    },
    Fault {
        claim: "a setting that overrides with nonsense",
        make: |_| {},
        arguments: &["--set", "azurefunctionsjobhost__FUNCTIONTIMEOUT=hunter2"],
        exit: 3,
        says: &["app/host.json: functionTimeout, set by azurefunctionsjobhost__FUNCTIONTIMEOUT, is no time span"],
    },
    Fault {
        claim: "a binding whose setting is none",
        make: |app| http_with(app, "Ask", "route", "%NoSuchPart%/x"),
        arguments: &[],
        exit: 3,
        says: &["app/Ask/function.json: %NoSuchPart% in route of a binding is no app setting", "set NoSuchPart in"],
    },
    Fault {
        claim: "a hub whose setting is none",
        make: |app| host_json_with(app, "\"extensions\": {\"durableTask\": {\"hubName\": \"%NoSuchHub%\" } }"),
        arguments: &[],
        exit: 3,
        says: &["app/host.json: line 2: extensions.durableTask.hubName has %NoSuchHub%, which is no app setting"],
    },
    Fault {
        claim: "a constraint that is not served",
        make: |app| http_with(app, "Ask", "route", "{id:regex(^a$)}"),
        arguments: &[],
        exit: 3,
        says: &["app/Ask/function.json: its route cannot be served", "the constraint regex"],
    },
    Fault {
        claim: "no function that is not disabled",
        make: |app| {
            for function in ["OnPicture", "OnText"] {
                fs::remove_dir_all(app.0.join(function)).unwrap();
            }
        },
        arguments: &["--set", "azurewebjobs.ask.disabled=TRUE"],
        exit: 3,
        says: &["every function of the app is disabled"],
    },
    Fault {
        claim: "storage by a signature",
        make: |_| {},
        arguments: &[
            "--set",
            "Pictures=BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=sv=1&sig=hunter2",
        ],
        exit: 3,
        says: &["its connection Pictures names storage elsewhere", "SharedAccessSignature, which is not supported"],
    },
    Fault {
        claim: "storage by an identity",
        make: |app| {
            let values = json!({ "Values": { "Pictures__accountName": "a", "Container": "texts" } });
            app.json("local.settings.json", &values);
        },
        arguments: &[],
        exit: 3,
        says: &["its connection Pictures names storage elsewhere, by an identity"],
    },
    Fault {
        claim: "a preset for another app",
        make: |_| {},
        arguments: &["--preset", "buffering"],
        exit: 64,
        says: &["--preset is for the labs' own app", "--set NAME=VALUE"],
    },
];

#[test]
fn what_cannot_be_served_names_the_file_and_the_way_out() {
    for fault in FAULTS {
        let scratch = Scratch::new();
        let app = App::write(scratch.path().join("app"));
        (fault.make)(&app);
        let run = lab_start(&app.0, fault.arguments);
        let text = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(fault.exit), "{}: {text}", fault.claim);
        assert!(fault.says.iter().all(|it| text.contains(it)), "{}: {text}", fault.claim);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn an_unknown_app_is_staged_with_its_handler_where_host_json_has_it() {
    let scratch = Scratch::new();
    let app = App::write(scratch.path().join("app"));
    fs::create_dir_all(app.0.join("functions")).unwrap();
    for function in ["OnPicture", "OnText", "Ask"] {
        fs::rename(app.0.join(function), app.0.join("functions").join(function)).unwrap();
    }
    let out = scratch.path().join("stage");
    let stage = |arguments: &[&str]| {
        let run = Command::new(&*LAB)
            .args(["stage", "--script-root", app.path(), "--out", out.to_str().unwrap()])
            .args(arguments)
            .output()
            .unwrap();
        (run.status.success(), String::from_utf8(run.stderr).unwrap())
    };
    let handler = probe_path();
    for arguments in [&[][..], &["--handler", handler.to_str().unwrap()]] {
        assert_eq!(stage(arguments), (true, String::new()));
        for file in ["host.json", "bin/probe", "OnPicture/function.json", "OnText/function.json", "Ask/function.json"] {
            assert!(out.join(file).is_file(), "{file}");
        }
        assert!(!out.join("local.settings.json").exists(), "it is not deployed");
        fs::remove_dir_all(app.0.join("bin")).unwrap_or_default();
    }
    let (succeeded, text) = stage(&[]);
    assert!(
        !succeeded && text.contains("app/host.json: it starts \"bin/probe\"") && text.contains("--handler"),
        "{text}"
    );
}
