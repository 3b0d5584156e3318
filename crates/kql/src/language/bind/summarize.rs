//! `summarize`: groups, aggregates, and the names of what they give.

use super::{Binder, Names, Place, Scope, aggregate_name};
use crate::language::{
    aggregates::{self, Aggregate, Gives, Takes},
    error::{Checked, Fault, Span},
    ex::Ex,
    functions::MANY,
    plan::{AggregateCall, Plan, Step},
    syntax::{Expr, ExprKind, Name, Named},
    table::{Column, Schema},
    value::Type,
};

impl Binder<'_> {
    pub(super) fn summarize(&mut self, plan: &mut Plan, aggregates: &[Named], by: &[Named], span: Span) -> Checked<()> {
        let columns = plan.schema.clone();
        let inside = Scope { columns: &columns, serialized: false, place: Place::Inside };
        let (mut names, mut schema, mut keys) = (Names::default(), Schema::new(), Vec::new());
        for it in by {
            let (key, kind) = self.expression(&it.value, inside)?;
            if kind == Type::Dynamic {
                let message = "The value of type 'dynamic' is not allowed in this context. Convert it: tostring(…), tolong(…) or another";
                return Err(Fault::of_type("KS116", it.value.span, message));
            }
            schema.push(Column::new(Self::result_name(&mut names, it)?, kind));
            keys.push(key);
        }
        let mut results: Vec<Ex> = (0..keys.len()).map(Ex::Column).collect();
        self.calls.clear();
        self.keys = keys.len();
        let scope = Scope { place: Place::Summarize, ..inside };
        for it in aggregates {
            for (name, value, kind) in self.results_of(it, scope, keys.len(), &mut names)? {
                schema.push(Column::new(name, kind));
                results.push(value);
            }
        }
        let calls = std::mem::take(&mut self.calls);
        plan.steps.push((Step::Summarize { keys, calls, results, grouped: !by.is_empty() }, span));
        plan.schema = schema;
        plan.serialized = false;
        Ok(())
    }

    /// The columns of one item: several for `percentiles`, `arg_max` and `take_any`.
    fn results_of(
        &mut self,
        it: &Named,
        scope: Scope<'_>,
        keys: usize,
        names: &mut Names,
    ) -> Checked<Vec<(String, Ex, Type)>> {
        if let ExprKind::Call(function, args) = &it.value.kind
            && let Some(found) = aggregates::find(&function.text)
            && let Some(parts) = split(found, args, scope.columns)
        {
            let mut all = Vec::new();
            for (at, (part_args, name)) in parts.into_iter().enumerate() {
                let (value, kind) = self.aggregate(found, function, &part_args, scope, keys)?;
                let name = match &it.name {
                    Some(explicit) if at == 0 => names.declare(&explicit.text, explicit.span)?,
                    _ => names.make(Some(&name)),
                };
                all.push((name, value, kind));
            }
            return Ok(all);
        }
        let (value, kind) = self.expression(&it.value, scope)?;
        Ok(vec![(Self::result_name(names, it)?, value, kind)])
    }

    /// One call of an aggregate: its column among the results of the calls.
    pub(super) fn aggregate(
        &mut self,
        it: &'static Aggregate,
        name: &Name,
        args: &[Expr],
        scope: Scope<'_>,
        keys: usize,
    ) -> Checked<(Ex, Type)> {
        if args.len() < it.least || args.len() > it.most {
            return Err(count_fault(&name.text, name.span, it.least, it.most));
        }
        let inside = Scope { place: Place::Inside, ..scope };
        let (mut bound, mut kinds) = (Vec::new(), Vec::new());
        for (at, arg) in args.iter().enumerate() {
            let (value, kind) = self.expression(arg, inside)?;
            if it.condition == Some(at) && kind != Type::Bool {
                return Err(Fault::of_type("KS107", arg.span, "A value of type bool expected."));
            }
            if at > 0 && it.name.starts_with("percentile") {
                if !kind.is_number() {
                    return Err(Fault::of_type("KS137", arg.span, "The expression value must be a number."));
                }
                if value.constant().is_none() {
                    return Err(Fault::of_type("KS129", arg.span, "The expression must be a constant."));
                }
            }
            let most = it.name.starts_with("make_") && at == it.most - 1;
            if most && !matches!(kind, Type::Int | Type::Long) {
                return Err(Fault::of_type("KS134", arg.span, "The expression value must be an integer."));
            }
            bound.push(value);
            kinds.push(kind);
        }
        let first = kinds.first().copied().unwrap_or(Type::Long);
        check_first(it, first, args, name.span)?;
        let kind = match it.gives {
            Gives::Is(kind) => kind,
            Gives::First if it.prefix.is_empty() && it.name.starts_with("arg_") => {
                kinds.get(1).copied().unwrap_or(first)
            }
            Gives::First => first,
            Gives::Whole if first == Type::Int => Type::Long,
            Gives::Whole => first,
            Gives::Mean if first.is_number() => Type::Real,
            Gives::Mean => first,
        };
        self.calls.push(AggregateCall { function: it, args: bound });
        let column = Ex::Column(keys + self.calls.len() - 1);
        // The sum of no rows is a zero of its type.
        let sums = it.name.starts_with("sum") && matches!(kind, Type::Real | Type::TimeSpan);
        Ok((if sums { Ex::Cast(kind, Box::new(column)) } else { column }, kind))
    }
}

pub(super) fn count_fault(name: &str, span: Span, least: usize, most: usize) -> Box<Fault> {
    // Microsoft's parser has a code for any number of arguments, and one for a certain number.
    let variadic = most >= MANY;
    let expected = match (least == most, most) {
        (true, 1) => "1 argument".to_owned(),
        (true, _) => format!("{most} arguments"),
        _ => format!("between {least} and {most} arguments"),
    };
    Fault::of_type(if variadic { "KS120" } else { "KS119" }, span, format!("The function '{name}' expects {expected}."))
}

fn check_first(it: &Aggregate, first: Type, args: &[Expr], name: Span) -> Checked<()> {
    let span = args.first().map_or(name, |it| it.span);
    let timed = matches!(first, Type::DateTime | Type::TimeSpan);
    match it.takes {
        Takes::Summable if !first.is_number() && first != Type::TimeSpan && first != Type::DateTime => {
            Err(Fault::of_type("KS138", span, "The argument value must be summable: a number, timespan or datetime."))
        }
        Takes::Averaged if !first.is_number() && !timed => Err(Fault::of_type(
            "KS127",
            name,
            format!("The function '{}' is not compatible with arguments ({first})", it.name),
        )),
        Takes::Orderable if matches!(first, Type::Dynamic | Type::Guid) => {
            let message = "The argument value must be orderable: a number, timespan, datetime, string or boolean.";
            Err(Fault::of_type("KS206", span, message))
        }
        Takes::Bag if first != Type::Dynamic => {
            Err(Fault::of_type("KS235", span, "The expression must be a dynamic bag."))
        }
        _ => Ok(()),
    }
}

type Pieces = Vec<(Vec<Expr>, String)>;

/// The calls that one call with several results stands for, and their names.
fn split(it: &Aggregate, args: &[Expr], columns: &[Column]) -> Option<Pieces> {
    let name_of = |it: &Expr| super::derived(it).unwrap_or_default();
    let every = |span: Span, without: &str| {
        let names = columns.iter().map(|it| it.name.clone()).filter(|name| name != without).collect::<Vec<_>>();
        names.into_iter().map(move |name| Expr { kind: ExprKind::Name(name), span })
    };
    match it.name {
        "percentiles" if args.len() > 1 => Some(
            args[1..]
                .iter()
                .map(|percent| {
                    let part = vec![args[0].clone(), percent.clone()];
                    let name = aggregate_name(it, &part);
                    (part, name)
                })
                .collect(),
        ),
        name @ ("arg_max" | "arg_min") if !args.is_empty() => {
            let first = &args[0];
            let own = name_of(first);
            let kind = name.trim_start_matches("arg_");
            let mut returned = vec![first.clone()];
            if let Some(star) = args[1..].iter().find(|it| matches!(it.kind, ExprKind::Star)) {
                returned.extend(every(star.span, &own));
            } else {
                returned.extend(args[1..].iter().cloned());
            }
            let named = returned.into_iter().enumerate().map(|(at, it)| {
                let name = match (super::derived(&it), at) {
                    (Some(name), _) => name,
                    (None, 0) => format!("{kind}_"),
                    (None, at) => format!("{kind}_{own}_arg{at}"),
                };
                (vec![first.clone(), it], name)
            });
            Some(named.collect())
        }
        "take_any" | "any" if args.len() > 1 || matches!(args.first()?.kind, ExprKind::Star) => {
            let star = matches!(args.first()?.kind, ExprKind::Star);
            let all: Vec<Expr> = if star { every(args.first()?.span, "").collect() } else { args.to_vec() };
            Some(
                all.into_iter()
                    .enumerate()
                    .map(|(at, arg)| {
                        let name = super::derived(&arg).map(|own| format!("{}{own}", it.prefix));
                        (vec![arg], name.unwrap_or_else(|| format!("any_arg{at}")))
                    })
                    .collect(),
            )
        }
        _ => None,
    }
}
