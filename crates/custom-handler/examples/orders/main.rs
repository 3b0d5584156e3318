//! Orders: a complete small app. An HTTP function starts an orchestration, which reserves stock, waits for the payment, and has a
//! second orchestration deliver; a blob function takes note of invoices.

use std::{
    collections::HashSet,
    process::ExitCode,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use custom_handler::{
    Activity, ActivityError, App, BlobTrigger, Context, Either, Error, Failure, HttpRequest, HttpResponse, Level,
    RetryPolicy, select, wire::InvocationResult,
};
use serde::{Deserialize, Serialize};

/// The activities, each by its folder's name and its types. Orchestrator and registration are held to them.
const RESERVE: Activity<Order, Reservation> = Activity::new("Reserve");
const RELEASE: Activity<Reservation, ()> = Activity::new("Release");
const PACK: Activity<Reservation, Parcel> = Activity::new("Pack");

const FULFIL: &str = "Fulfil";
const DELIVER: &str = "Deliver";
/// The event a payment raises.
const PAID: &str = "Paid";

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Order {
    item: String,
    quantity: u32,
    /// How long the payment may take, in seconds.
    #[serde(default = "a_day")]
    pay_within_s: u64,
}

fn a_day() -> u64 {
    24 * 3600
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Reservation {
    item: String,
    quantity: u32,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Parcel {
    weight_g: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
enum Outcome {
    Delivered { weight_g: u32 },
    SoldOut,
    NotPaid,
}

#[tokio::main]
async fn main() -> ExitCode {
    App::new()
        .http("PlaceOrder", place_order)
        .blob("NoteInvoice", note_invoice)
        .orchestrator(FULFIL, fulfil)
        .orchestrator(DELIVER, deliver)
        .activity(RESERVE, reserve)
        .activity(RELEASE, release)
        .activity(PACK, pack)
        .serve()
        .await
}

/// `POST /api/orders` with an [`Order`]: 202 and the instance's id.
async fn place_order(request: HttpRequest) -> Result<HttpResponse, HttpResponse> {
    let order: Order = request.json()?;
    let client = request.durable_client("client")?;
    let id = client.start(FULFIL, None, &order).await?;
    Ok(HttpResponse::json(202, &serde_json::json!({ "id": id })))
}

/// Reserves, with retries; waits for the payment; delivers, or gives the stock back.
async fn fulfil(ctx: Context, order: Order) -> Result<Outcome, Error> {
    let policy = RetryPolicy::new(4, Duration::from_secs(1)).backoff(2.0).unless(|error| error.error_type == "SoldOut");
    let reservation = match ctx.call_with_retry(RESERVE, &order, policy)?.await {
        Ok(reservation) => reservation,
        Err(error) if error.error_type == "SoldOut" => {
            ctx.log(Level::Warning, || error.message.clone());
            return Ok(Outcome::SoldOut);
        }
        Err(error) => return Err(error),
    };
    ctx.set_custom_status(&"waiting for the payment")?;
    let mut paid = ctx.external_event::<serde_json::Value>(PAID);
    let mut deadline = ctx.timer(Duration::from_secs(order.pay_within_s));
    if let Either::Second(()) = select(&mut paid, &mut deadline).await {
        ctx.call(RELEASE, &reservation).await?;
        return Ok(Outcome::NotPaid);
    }
    let parcel: Parcel = ctx.sub_orchestration(DELIVER, &reservation).await?;
    ctx.log(Level::Information, || format!("delivered {} of {}", order.quantity, order.item));
    Ok(Outcome::Delivered { weight_g: parcel.weight_g })
}

/// Packs, and lets the parcel rest for a second.
async fn deliver(ctx: Context, reservation: Reservation) -> Result<Parcel, Error> {
    let parcel = ctx.call(PACK, &reservation).await?;
    ctx.timer(Duration::from_secs(1)).await;
    Ok(parcel)
}

/// Stock is counted in a system that is busy at the first try for each item.
async fn reserve(order: Order) -> Result<Reservation, ActivityError> {
    static KNOWN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    let Order { item, quantity, .. } = order;
    if quantity > 100 {
        return Err(ActivityError::new("SoldOut", format!("there are no {quantity} of {item}")).non_retriable());
    }
    if KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(item.clone()) {
        return Err(ActivityError::new("Busy", format!("the stock of {item} is being counted")));
    }
    Ok(Reservation { item, quantity })
}

async fn release(_: Reservation) -> Result<(), ActivityError> {
    Ok(())
}

async fn pack(reservation: Reservation) -> Result<Parcel, ActivityError> {
    let weight_g =
        reservation.quantity.checked_mul(250).ok_or_else(|| ActivityError::new("TooHeavy", "over 4,000 t"))?;
    Ok(Parcel { weight_g })
}

/// The host names the blob; its bytes stay in storage.
async fn note_invoice(blob: BlobTrigger) -> Result<InvocationResult, Failure> {
    let name = blob.parameter("name").ok_or_else(|| Failure::new("the trigger names no blob"))?;
    let size = blob.content_length().unwrap_or_default();
    Ok(InvocationResult::default().line(format!("invoice {name}: {size} bytes")))
}
