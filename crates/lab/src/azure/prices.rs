//! What an EP1 instance costs, from Azure's public price list. The list asks for no sign-in.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{call::Call, client::Azure};

/// An EP1 instance (Azure Functions Premium plan, available instance SKUs): one vCPU, 3.5 GB.
const EP1_GB: f64 = 3.5;
const CPU_METER: &str = "vCPU Duration";
const MEMORY_METER: &str = "Memory Duration";

/// One sentence about what an EP1 instance of a region costs for so long. Says `unknown` and why where the list does not tell.
///
/// `region` is a name (`koreacentral`) or what Resource Manager shows (`Korea Central`).
pub async fn cost(azure: &Azure, region: &str, time: Duration) -> String {
    let region = name_of(region);
    match hour(azure, &region).await {
        Ok((price, currency)) => {
            let total = price * time.as_secs_f64() / 3600.0;
            format!(
                "Cost: an EP1 instance in {region} is {price:.3} {currency} an hour at the public retail price, so {total:.2} {currency} \
                 for {}. It bills until its plan is deleted; storage and telemetry are not in this.",
                shown(time)
            )
        }
        Err(why) => format!(
            "Cost: unknown ({why}). An EP1 instance bills by the hour, idle or not, until its plan is deleted; {} are planned.",
            shown(time)
        ),
    }
}

/// Price and currency of an EP1 hour.
async fn hour(azure: &Azure, region: &str) -> Result<(f64, String), String> {
    let items = azure.list(&call(region)).await.map_err(|error| error.to_string())?;
    if azure.is_planning() {
        return Err("this is a plan, and the price list was not asked".to_owned());
    }
    let (cpu, currency) = price(&items, CPU_METER, region)?;
    let (memory, other) = price(&items, MEMORY_METER, region)?;
    if currency != other {
        return Err(format!("the price list has {currency} and {other}"));
    }
    Ok((cpu + memory * EP1_GB, currency))
}

/// `GET /api/retail/prices` (Azure Retail Prices overview). Filters heed upper and lower case.
fn call(region: &str) -> Call {
    let filter = format!("serviceName eq 'Functions' and armRegionName eq '{region}' and priceType eq 'Consumption'");
    let filter = filter.replace(' ', "%20").replace('\'', "%27");
    let url = format!("https://prices.azure.com/api/retail/prices?$filter={filter}");
    Call::open(Method::GET, url.clone(), "read the price list")
        .az(format!("az rest --skip-authorization-header --url \"{}\"", url.replace('$', "\\$")))
        .planned(json!({"Items": []}))
}

/// The one hourly price of a meter of the Premium plan. The list has a row for each date a price changed: those of today are alike.
fn price(items: &[Value], meter: &str, region: &str) -> Result<(f64, String), String> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let is_hourly = |unit: &str| unit.starts_with("1 ") && unit.ends_with("Hour");
    let is_meant = |item: &&Value| {
        text(item, "meterName").ends_with(meter)
            && [text(item, "skuName"), text(item, "productName")].iter().any(|it| it.contains("Premium"))
            && is_hourly(&text(item, "unitOfMeasure"))
            && item["tierMinimumUnits"].as_f64().unwrap_or_default() == 0.0
    };
    let read = |item: &Value| Some((item["retailPrice"].as_f64().filter(|it| *it > 0.0)?, text(item, "currencyCode")));
    let mut prices: Vec<(f64, String)> = items.iter().filter(is_meant).filter_map(read).collect();
    prices.dedup();
    match &*prices {
        [one] => Ok(one.clone()),
        [] => Err(format!("the price list has no hourly {meter} of the Premium plan in {region}")),
        _ => Err(format!("the price list has {} prices for {meter} in {region}", prices.len())),
    }
}

/// `Korea Central` is `koreacentral`. Braces of a plan stay.
fn name_of(region: &str) -> String {
    region.chars().filter(|it| it.is_ascii_alphanumeric() || "{}".contains(*it)).collect::<String>().to_lowercase()
}

fn shown(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    if minutes.is_multiple_of(60) { format!("{} h", minutes / 60) } else { format!("{minutes} min") }
}
