//! The host's HTTP side: functions with an HTTP trigger under their routes, with the durable client bindings they may have.

mod answer;
mod request;
mod route;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::{request::Received, route::Route};
use super::{
    host::{Begun, Call, Exception, Host, HostLog, Level, Reply, Settle, binding_data},
    task_hub::{Client, Start, StartError, TaskHub, webhook},
};
use crate::app::{AppError, FunctionJson, HostSettings, ScriptRoot, function_json::text};
use custom_handler::wire::WEBHOOK_PATH;

/// Why the host runs a function that was called over HTTP.
const REASON: &str = "This function was programmatically called via the host APIs.";
const LOG_CATEGORY: &str = "Microsoft.Azure.WebJobs.Script.WebHost.Middleware.ExceptionMiddleware";

/// The functions that can be called over HTTP.
#[derive(Clone, Debug)]
pub struct HttpFunctions {
    functions: Arc<Vec<Arc<HttpFunction>>>,
}

#[derive(Debug)]
struct HttpFunction {
    name: String,
    route: Route,
    /// Name of the trigger's binding.
    request: String,
    /// Name of the HTTP output.
    response: Option<String>,
    client_in: Option<String>,
    client_out: Option<String>,
}

impl HttpFunctions {
    /// Those of an app that was checked, in the order in which their routes are tried; routes have host.json's prefix.
    pub fn new(root: &ScriptRoot) -> Self {
        let mut functions: Vec<_> = Self::declared(root).flatten().map(Arc::new).collect();
        functions.sort_by(|one, other| one.route.precedence(&other.route));
        Self { functions: Arc::new(functions) }
    }

    /// Refuses an app with a route that cannot be served.
    ///
    /// # Errors
    /// The function, and what is wrong with its route.
    pub(super) fn check(root: &ScriptRoot) -> Result<(), AppError> {
        Self::declared(root).try_for_each(|it| it.map(drop))
    }

    fn declared(root: &ScriptRoot) -> impl Iterator<Item = Result<HttpFunction, AppError>> {
        let prefix = HostSettings::without_executable(root.host()).unwrap_or_default().route_prefix;
        root.functions().iter().filter_map(move |it| HttpFunction::declared(it, &prefix))
    }

    /// Methods and paths, for people.
    pub fn describe(&self) -> Vec<String> {
        self.functions.iter().map(|it| format!("{} {}", it.route.methods(), it.route)).collect()
    }

    /// The host's line about each, in the order of the functions.
    pub(super) fn mapped(&self) -> Vec<String> {
        let mapped = |it: &Arc<HttpFunction>| {
            let route = it.route.to_string();
            let route = route.trim_start_matches('/');
            format!("Mapped function route '{route}' [{}] to '{}'", it.route.listed_methods(), it.name)
        };
        let mut functions: Vec<_> = self.functions.iter().collect();
        functions.sort_by(|one, other| one.name.cmp(&other.name));
        functions.into_iter().map(mapped).collect()
    }

    /// Serves them at an address, which is also what a durable client is told: whoever calls must not choose where the handler sends
    /// its own requests.
    pub fn router(self, address: SocketAddr, host: Host, log: HostLog, hub: Option<TaskHub>) -> Router {
        Router::new().fallback(serve).with_state(Invoker {
            address,
            functions: self,
            host,
            log,
            hub,
            invocations: TaskTracker::new(),
        })
    }
}

impl HttpFunction {
    fn declared(function: &FunctionJson, prefix: &str) -> Option<Result<Self, AppError>> {
        let trigger = function.binding_of("httpTrigger")?;
        let name = |binding: Option<&Value>| binding.map(|it| text(it, "name").to_owned());
        let route = Route::declared(trigger, prefix, &function.name).map_err(|problem| {
            AppError::new(&function.file, format!("its route cannot be served: {problem}"), "write another route")
        });
        Some(route.map(|route| Self {
            name: function.name.clone(),
            route,
            request: name(Some(trigger)).unwrap_or_default(),
            response: name(function.binding_in("http", "out")),
            client_in: name(function.binding_in("durableClient", "in")),
            client_out: name(function.binding_in("durableClient", "out")),
        }))
    }
}

#[derive(Clone)]
struct Invoker {
    address: SocketAddr,
    functions: HttpFunctions,
    host: Host,
    log: HostLog,
    hub: Option<TaskHub>,
    /// They go on when their caller hangs up: what was asked for is started all the same.
    invocations: TaskTracker,
}

async fn serve(State(invoker): State<Invoker>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let begun = Begun::now();
    let found = invoker.functions.functions.iter().find_map(|it| Some((it, it.route.matches(&method, uri.path())?)));
    let Some((function, parameters)) = found else {
        return match invoker.hub {
            // Its path may be in another case.
            Some(hub) => webhook::serve(State(hub), method, uri, headers, Ok(body)).await,
            None => StatusCode::NOT_FOUND.into_response(),
        };
    };
    let received = Received { method: &method, uri: &uri, headers: &headers, body: &body, parameters };
    let (function, call) = (Arc::clone(function), invoker.call(function, &received, begun));
    let invocation = invoker.invocations.clone().spawn(async move { invoker.invoke(&function, call).await });
    invocation.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Invoker {
    fn call(&self, function: &HttpFunction, received: &Received<'_>, begun: Begun) -> Call {
        let mut data = Map::from_iter([(function.request.clone(), received.data())]);
        if let (Some(binding), Some(hub)) = (&function.client_in, &self.hub) {
            data.insert(binding.clone(), client_value(hub, self.address));
        }
        Call {
            function: function.name.clone(),
            reason: REASON.to_owned(),
            data,
            metadata: received.metadata(),
            http: Some(received.described(REASON)),
            begun: Some(begun),
            settle: function.client_out.clone().zip(self.hub.clone()).map(|(binding, hub)| starting(binding, hub)),
            ..Call::default()
        }
    }

    async fn invoke(&self, function: &HttpFunction, call: Call) -> Response {
        let mut outcome = self.host.invoke(call).await;
        let reply = outcome.reply.as_ref().filter(|_| outcome.succeeded);
        let response = self.respond(function, reply);
        if let Some(request) = outcome.unanswered.take() {
            self.host.answered(request, response.status().as_u16());
        }
        response
    }

    fn respond(&self, function: &HttpFunction, reply: Option<&Reply>) -> Response {
        let failed = || StatusCode::INTERNAL_SERVER_ERROR.into_response();
        let Some(reply) = reply else { return failed() };
        answer::to_caller(reply, function.response.as_deref()).unwrap_or_else(|why| {
            self.log.write(LOG_CATEGORY, Level::Error, format!("{}: {why}", function.name));
            failed()
        })
    }
}

/// What a `durableClient` input binding hands over, keys in the extension's order. There is no gRPC listener here.
fn client_value(hub: &TaskHub, address: SocketAddr) -> Value {
    let value = json!({
        "taskHubName": hub.name(),
        "connectionName": null,
        "creationUrls": null,
        "managementUrls": null,
        "baseUrl": null,
        "requiredQueryStringParameters": "",
        "rpcBaseUrl": null,
        "httpBaseUrl": format!("http://{address}{WEBHOOK_PATH}"),
        "useForwardedHost": false,
        "maxGrpcMessageSizeInBytes": 4_194_304,
        "grpcHttpClientTimeout": "\"00:01:40\"",
    });
    binding_data::encoded(&value.to_string())
}

/// Has an invocation start what its `durableClient` output binding was given: what cannot be started fails it.
fn starting(binding: String, hub: TaskHub) -> Settle {
    Settle::new(move |reply| {
        let (hub, binding) = (hub.clone(), binding.clone());
        async move {
            start_all(&hub, reply.outputs.get(&binding)).await.map_err(|error| {
                let kind = match error {
                    StartError::Exists { .. } | StartError::Store(_) => "System.InvalidOperationException",
                    StartError::UnknownFunction { .. } | StartError::InstanceId { .. } => "System.ArgumentException",
                };
                Exception::new(kind, error.to_string())
            })
        }
        .boxed()
    })
}

/// Starts what a `durableClient` output binding was given: an object, an array of objects, or the same as JSON texts. One after the
/// other, as the host does, each when the one before is in the hub; one that cannot be started ends it.
async fn start_all(hub: &TaskHub, output: Option<&Value>) -> Result<(), StartError> {
    let Some(output) = output else { return Ok(()) };
    let starts = match output {
        Value::Array(starts) => starts.as_slice(),
        one => std::slice::from_ref(one),
    };
    for start in starts {
        let parsed = start.as_str().and_then(|text| serde_json::from_str(text).ok());
        let start: &Value = parsed.as_ref().unwrap_or(start);
        let id = start["InstanceId"].as_str().map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned);
        let input = Some(&start["Input"]).filter(|it| !it.is_null()).map(Value::to_string);
        let name = start["FunctionName"].as_str().unwrap_or_default();
        hub.check_orchestrator(name)?;
        let (name, client) = (name.to_owned(), Client::OutputBinding);
        hub.create_instance(Start { name, instance_id: id, input, version: None, client }).await?;
    }
    Ok(())
}
