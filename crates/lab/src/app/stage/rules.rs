//! What the host silently ignores or misreads, as rules over the files to be staged.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use custom_handler::files::{HostJson, field};
use serde_json::Value;

use super::{Entry, HANDLER};
use crate::{
    app::{
        HostSettings,
        blob_trigger::BlobPath,
        function_json::{bindings, has_expression, is_deferred, is_trigger, text},
        host_settings::VERSION,
        route::Template,
        source::{Start, is_inside},
    },
    machine::elf,
};

/// Bindings of one function.
struct Function<'a> {
    name: &'a str,
    bindings: Vec<Value>,
}

impl Function<'_> {
    fn kinds(&self) -> impl Iterator<Item = &str> {
        self.bindings.iter().map(|it| text(it, "type"))
    }

    fn trigger(&self) -> Option<&Value> {
        self.bindings.iter().find(|it| is_trigger(it))
    }
}

/// Every reason not to stage these files with the handler in this place, in the order of the files.
pub(in crate::app) fn problems(entries: &BTreeMap<PathBuf, Entry>, place: &Path, known: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(executable(entries));
    problems.extend(host_json(entries, place));
    let mut functions = Vec::new();
    for (path, entry) in entries.iter().filter(|(path, _)| path.ends_with("function.json")) {
        let name = path.parent().and_then(Path::to_str).unwrap_or_default();
        match bindings(path, &entry.content) {
            Ok(bindings) => functions.push(Function { name, bindings }),
            Err(error) => problems.push(format!("{name}/function.json cannot be read: {}", error.problem())),
        }
    }
    for function in &functions {
        problems.extend(names(function, known));
        problems.extend(trigger(function));
        problems.extend(durable_return(function));
        problems.extend(blob(function));
    }
    for missing in known.iter().filter(|it| !functions.iter().any(|function| function.name == **it)) {
        problems
            .push(format!("the handler has a function {missing}, but there is no functions/{missing}/function.json"));
    }
    problems.extend(routes(&functions));
    problems
}

fn executable(entries: &BTreeMap<PathBuf, Entry>) -> Option<String> {
    let content = &entries.get(Path::new(HANDLER))?.content;
    (!elf::is_for_x86_64(content))
        .then(|| "the handler is not an ELF executable for x86-64: build it for x86_64-unknown-linux".to_owned())
}

fn host_json(entries: &BTreeMap<PathBuf, Entry>, place: &Path) -> Vec<String> {
    let file = Path::new("host.json");
    let Some(entry) = entries.get(file) else { return Vec::new() };
    let host = match HostJson::of(file, &entry.content) {
        Ok(host) => host,
        Err(error) => return vec![format!("host.json is not JSON: {}", error.problem())],
    };
    let mut problems = Vec::new();
    let executable = Start::of(&host).unwrap_or_default().executable;
    if executable != place {
        problems.push(format!("host.json starts {executable:?}: defaultExecutablePath must be {place:?}"));
    } else if !is_inside(place) {
        problems.push(format!("host.json starts {executable:?}: defaultExecutablePath must be a path below host.json"));
    }
    match HostSettings::without_executable(&host) {
        Ok(settings) if settings.route_prefix.is_empty() => {
            problems.push("host.json has an empty routePrefix: routes would clash with the host's own".to_owned());
        }
        Ok(_) => {}
        Err(error) => problems.push(format!("host.json cannot be read: {}", error.problem())),
    }
    problems.extend(version(&host));
    problems
}

fn version(host: &HostJson) -> Option<String> {
    match host.text(&["version"]) {
        Ok(Some(version)) if version == VERSION => None,
        Ok(Some(_)) => Some(format!("host.json has another version than {VERSION}: the host would not start")),
        Ok(None) => Some(format!("host.json has no \"version\": \"{VERSION}\": the host would not start")),
        Err(error) => Some(format!("host.json cannot be read: {}", error.problem())),
    }
}

fn names(function: &Function<'_>, known: &[&str]) -> Vec<String> {
    let name = function.name;
    let mut problems = Vec::new();
    if !is_name(name, |it| matches!(it, '_' | '-')) || name.eq_ignore_ascii_case("host") {
        problems.push(format!("{name:?} is no function name: a letter, then letters, digits, _ and -, not \"host\""));
    } else if !known.contains(&name) {
        problems.push(format!("functions/{name} has no function in the handler: it knows {}", known.join(", ")));
    }
    for (at, binding) in function.bindings.iter().enumerate() {
        let binding = text(binding, "name");
        if function.bindings[..at].iter().any(|it| text(it, "name").eq_ignore_ascii_case(binding)) {
            problems.push(format!("{name}: two bindings are called {binding:?}"));
        }
        if binding != "$return" && !is_name(binding, |_| false) {
            problems.push(format!("{name}: binding name {binding:?} is invalid: a letter, then letters and digits"));
        }
    }
    problems
}

fn trigger(function: &Function<'_>) -> Option<String> {
    let name = function.name;
    if function.bindings.is_empty() {
        return Some(format!("{name}/function.json has no bindings"));
    }
    match function.bindings.iter().filter(|it| is_trigger(it)).count() {
        1 => None,
        count => Some(format!("{name}/function.json has {count} triggers: a function has exactly one")),
    }
}

fn durable_return(function: &Function<'_>) -> Option<String> {
    let is_durable = function.kinds().any(|it| {
        ["orchestrationTrigger", "activityTrigger", "entityTrigger"].iter().any(|kind| kind.eq_ignore_ascii_case(it))
    });
    let returns = function.bindings.iter().any(|it| text(it, "name") == "$return");
    (is_durable && returns).then(|| {
        format!(
            "{} is a durable function with a $return binding: its result would not reach the task hub",
            function.name
        )
    })
}

fn blob(function: &Function<'_>) -> Vec<String> {
    let Some(trigger) = function.trigger().filter(|it| text(it, "type").eq_ignore_ascii_case("blobTrigger")) else {
        return Vec::new();
    };
    let (name, path) = (function.name, text(trigger, "path"));
    let mut problems = Vec::new();
    if BlobPath::parse(path).is_none() && !path.contains('%') {
        problems.push(format!("{name}: path {path:?} is not container/{{name}} with at most one parameter"));
    }
    let others = function.bindings.iter().filter(|it| !is_trigger(it));
    for other in others.filter(|it| is_deferred(trigger) && has_expression(it)) {
        problems.push(format!(
            "{name}: binding {:?} has an {{expression}}, which turns deferred binding off: the host would send whole blobs",
            text(other, "name")
        ));
    }
    problems
}

fn routes(functions: &[Function<'_>]) -> Vec<String> {
    let mut seen: HashMap<(String, String), &str> = HashMap::new();
    let mut problems = Vec::new();
    for function in functions {
        let Some(trigger) = function.trigger().filter(|it| text(it, "type").eq_ignore_ascii_case("httpTrigger")) else {
            continue;
        };
        let route = field(trigger, "route").as_str().unwrap_or(function.name).trim_matches('/').to_lowercase();
        // A name of a setting may stand for any part of it.
        if let Some(problem) = Template::parse(&route).err().filter(|_| !route.contains('%')) {
            problems.push(format!("{}: its route is none: {problem}", function.name));
        }
        let all = ["get", "post", "put", "delete", "patch", "head", "options"].map(str::to_owned).to_vec();
        let methods = field(trigger, "methods")
            .as_array()
            .filter(|it| !it.is_empty())
            .map_or(all, |it| it.iter().filter_map(Value::as_str).map(str::to_lowercase).collect());
        let clash = methods.iter().find_map(|method| {
            let other = seen.insert((method.clone(), route.clone()), function.name)?;
            (other != function.name).then(|| (method.to_uppercase(), other))
        });
        if let Some((method, other)) = clash {
            problems.push(format!("{method} {route} is the route of both {other} and {}", function.name));
        }
    }
    problems
}

fn is_name(name: &str, also: impl Fn(char) -> bool) -> bool {
    let mut letters = name.chars();
    name.len() <= 128
        && letters.next().is_some_and(|it| it.is_ascii_alphabetic())
        && letters.all(|it| it.is_ascii_alphanumeric() || also(it))
}
