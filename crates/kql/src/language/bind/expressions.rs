//! Scalar expressions: names, types, and what the subset lacks.

use super::{Binder, Place, Scope, summarize::count_fault};
use crate::language::{
    aggregates,
    arithmetic::{common, operation, ordered},
    error::{Checked, Fault, Span, suggestion},
    ex::{Ex, Row, folded},
    functions::{self, Function, Gives, Takes},
    syntax::{Expr, ExprKind, Name},
    table::Batch,
    terms::{Match, Needle, Place as Where},
    value::{Type, Value},
};

/// Functions that look at other rows.
pub(crate) const WINDOW: [(&str, &str); 4] = [
    ("prev", "value [, rows [, default]]"),
    ("next", "value [, rows [, default]]"),
    ("row_number", "[start]"),
    ("row_cumsum", "number [, restart]"),
];

impl Binder<'_> {
    pub(super) fn expression(&mut self, it: &Expr, scope: Scope<'_>) -> Checked<(Ex, Type)> {
        match &it.kind {
            ExprKind::Literal(kind, value) => Ok((Ex::Const(value.clone()), *kind)),
            ExprKind::Name(name) => self.name(name, it.span, scope),
            ExprKind::Star => Err(Fault::syntax(
                "KS191",
                it.span,
                "Missing expression: * stands alone only in arg_max, arg_min, take_any and distinct",
            )),
            ExprKind::Call(name, args) => self.call(name, args, scope),
            ExprKind::Negative(value) => self.negative(value, it.span, scope),
            ExprKind::Binary { op, left, right } => self.binary(op, left, right, scope),
            ExprKind::OneOf { op, value, list } => self.one_of(op, value, list, scope),
            ExprKind::Between { op, value, low, high } => self.between(op, value, low, high, scope),
            ExprKind::Path(value, name) => {
                let (value, kind) = self.expression(value, scope)?;
                if kind != Type::Dynamic {
                    let message = format!(
                        "The name '{}' does not refer to any known column, table, variable or function: a value of type {kind} has no parts.",
                        name.text
                    );
                    return Err(Fault::name("KS142", name.span, message));
                }
                Ok((self.fold(Ex::Path(Box::new(value), name.text.clone())), Type::Dynamic))
            }
            ExprKind::Index(value, index) => {
                let (value, kind) = self.expression(value, scope)?;
                let (index_value, index_kind) = self.expression(index, scope)?;
                if kind != Type::Dynamic {
                    return Err(Fault::of_type(
                        "KS147",
                        index.span,
                        "The element access operator [] is not allowed in this context.",
                    ));
                }
                if !matches!(index_kind, Type::Int | Type::Long | Type::String | Type::Dynamic) {
                    return Err(Fault::of_type(
                        "KS141",
                        index.span,
                        "The expression must have one of the types: string, int or long.",
                    ));
                }
                Ok((self.fold(Ex::Index(Box::new(value), Box::new(index_value))), Type::Dynamic))
            }
        }
    }

    fn name(&mut self, name: &str, span: Span, scope: Scope<'_>) -> Checked<(Ex, Type)> {
        if let Some(at) = scope.columns.iter().position(|it| it.name == name) {
            if scope.place == Place::Summarize {
                let message = format!(
                    "The name '{name}' is not an aggregate or scalar function. A column stands inside an aggregate, or behind by."
                );
                return Err(Fault::name("KS236", span, message));
            }
            return Ok((Ex::Column(at), scope.columns[at].kind));
        }
        if let Some((kind, value)) = self.scalars.get(name) {
            return Ok((Ex::Const(value.clone()), *kind));
        }
        if functions::find(name).is_some() || aggregates::find(name).is_some() {
            return Err(Fault::syntax(
                "KS117",
                span,
                format!("The function '{name}' requires an argument list: {name}(…)"),
            ));
        }
        Err(self.unknown_column(name, span, scope.columns))
    }

    /// Works out what reads no row.
    fn fold(&self, it: Ex) -> Ex {
        let constant = |it: &Ex| it.constant().is_some();
        let ready = match &it {
            Ex::Operation(_, a, b) | Ex::And(a, b) | Ex::Or(a, b) | Ex::Index(a, b) => constant(a) && constant(b),
            Ex::Call(_, args) => args.iter().all(constant),
            Ex::Path(value, _)
            | Ex::Cast(_, value)
            | Ex::Matches(value, _)
            | Ex::Terms { value, .. }
            | Ex::Member { value, .. } => constant(value),
            Ex::Term { value, needle, .. } => constant(value) && constant(needle),
            Ex::Listed { value, list, .. } => constant(value) && list.iter().all(constant),
            _ => false,
        };
        if !ready {
            return it;
        }
        let batch = Batch { columns: Vec::new(), len: 1 };
        let value = it.eval(Row { batch: &batch, at: 0, env: self.env }).into_owned();
        Ex::Const(value)
    }

    fn negative(&mut self, value: &Expr, span: Span, scope: Scope<'_>) -> Checked<(Ex, Type)> {
        let (bound, kind) = self.expression(value, scope)?;
        let zero = if kind == Type::TimeSpan { Value::TimeSpan(0) } else { Value::Long(0) };
        let zero_kind = if kind == Type::TimeSpan { Type::TimeSpan } else { Type::Long };
        let defined = kind.is_number() || kind == Type::TimeSpan;
        match operation("-", zero_kind, kind).filter(|_| defined) {
            Some((_, run)) => {
                let result = if kind == Type::Int { Type::Long } else { kind };
                Ok((self.fold(Ex::Operation(run, Box::new(Ex::Const(zero)), Box::new(bound))), result))
            }
            None => {
                let at = Span { start: span.start, end: span.start + 1 };
                Err(Fault::of_type(
                    "KS106",
                    at,
                    format!("The operator '-' is not defined for the operand type {kind}."),
                ))
            }
        }
    }

    fn binary(&mut self, op: &Name, left: &Expr, right: &Expr, scope: Scope<'_>) -> Checked<(Ex, Type)> {
        let (a, left_kind) = self.expression(left, scope)?;
        let (b, right_kind) = self.expression(right, scope)?;
        let undefined = || {
            let mut message = format!(
                "The operator '{}' is not defined for the operand types {left_kind} and {right_kind}.",
                op.text
            );
            if left_kind == Type::Real && right_kind == Type::TimeSpan && op.text == "/" {
                message.push_str(" A real is a number already: leave the division out, or divide by a number.");
            }
            Fault::of_type("KS106", op.span, message)
        };
        let boolean = |kind| kind == Type::Bool || kind == Type::Dynamic;
        let textual = |kind| kind == Type::String || kind == Type::Dynamic;
        let (a, b) = (Box::new(a), Box::new(b));
        if op.text == "and" || op.text == "or" {
            if !boolean(left_kind) || !boolean(right_kind) {
                return Err(undefined());
            }
            return Ok((self.fold(if op.text == "and" { Ex::And(a, b) } else { Ex::Or(a, b) }), Type::Bool));
        }
        if op.text == "matches regex" {
            if !textual(left_kind) || !textual(right_kind) {
                return Err(undefined());
            }
            let Some(pattern) = b.constant() else {
                return Err(Fault::outside(
                    right.span,
                    "a pattern that is no constant is outside the subset; write it out",
                ));
            };
            let regex = functions::pattern(&pattern.to_string());
            if regex.is_none() {
                let message = "the pattern does not compile: it is no regular expression of RE2, or too large";
                return Err(Fault::new(crate::language::ErrorKind::Type, None, right.span, message));
            }
            return Ok((self.fold(Ex::Matches(a, regex)), Type::Bool));
        }
        if let Some((how, negated)) = Match::of(&op.text) {
            if !textual(left_kind) || !textual(right_kind) {
                return Err(undefined());
            }
            let found = match b.constant() {
                Some(it) => {
                    Ex::Terms { value: a, needles: vec![Needle::new(&it.to_string(), how)], all: true, negated }
                }
                None => Ex::Term { value: a, needle: b, how, negated },
            };
            return Ok((self.fold(found), Type::Bool));
        }
        let (kind, run) = operation(&op.text, left_kind, right_kind).ok_or_else(undefined)?;
        Ok((self.fold(Ex::Operation(run, a, b)), kind))
    }

    fn one_of(&mut self, op: &Name, value: &Expr, list: &[Expr], scope: Scope<'_>) -> Checked<(Ex, Type)> {
        let (bound, kind) = self.expression(value, scope)?;
        let mut items = Vec::new();
        for it in list {
            items.push(self.expression(it, scope)?);
        }
        let value_span = value.span;
        let value = Box::new(bound);
        if op.text.ends_with('~') && kind != Type::String && kind != Type::Dynamic {
            return Err(Fault::of_type("KS107", value_span, "A value of type string or dynamic expected."));
        }
        if op.text.starts_with("has") {
            if kind != Type::String && kind != Type::Dynamic {
                return Err(Fault::of_type("KS107", value_span, "A value of type string or dynamic expected."));
            }
            let how = Match { place: Where::Term, exact_case: false };
            let mut needles = Vec::new();
            for ((item, _), at) in items.iter().zip(list) {
                let Some(it) = item.constant() else {
                    return Err(Fault::outside(
                        at.span,
                        format!("'{}' of a column is outside the subset; list the terms", op.text),
                    ));
                };
                needles.extend(elements(it).iter().map(|it| Needle::new(&it.to_string(), how)));
            }
            return Ok((
                self.fold(Ex::Terms { value, needles, all: op.text == "has_all", negated: false }),
                Type::Bool,
            ));
        }
        let (negated, ignoring_case) = (op.text.starts_with('!'), op.text.ends_with('~'));
        let constants: Option<Vec<Value>> = items.iter().map(|(it, _)| it.constant().cloned()).collect();
        let same_kinds = items.iter().all(|(_, it)| *it == kind || *it == Type::Dynamic) && kind != Type::Dynamic;
        let member = match constants {
            Some(all) if same_kinds || ignoring_case => {
                let all = all.iter().flat_map(elements);
                let set = all.map(|it| if ignoring_case { folded(&it) } else { it }).collect();
                Ex::Member { value, set, ignoring_case, negated }
            }
            _ => Ex::Listed { value, list: items.into_iter().map(|(it, _)| it).collect(), ignoring_case, negated },
        };
        Ok((self.fold(member), Type::Bool))
    }

    /// Both ends belong to it. A datetime's upper end may be a timespan from the lower one.
    fn between(&mut self, op: &Name, value: &Expr, low: &Expr, high: &Expr, scope: Scope<'_>) -> Checked<(Ex, Type)> {
        let (bound, kind) = self.expression(value, scope)?;
        let (low_value, low_kind) = self.expression(low, scope)?;
        let (mut high_value, mut high_kind) = self.expression(high, scope)?;
        if low_kind == Type::DateTime
            && high_kind == Type::TimeSpan
            && let Some((kind, run)) = operation("+", Type::DateTime, Type::TimeSpan)
        {
            let start = self.expression(low, scope)?.0;
            high_value = self.fold(Ex::Operation(run, Box::new(start), Box::new(high_value)));
            high_kind = kind;
        }
        let fits = |it: Type| ordered(kind, it) && kind != Type::Bool;
        if kind.is_number() && (low_kind.is_number() || high_kind.is_number()) {
            for (it, kind) in [(low, low_kind), (high, high_kind)] {
                if !kind.is_number() && kind != Type::Dynamic {
                    return Err(Fault::of_type("KS137", it.span, "The expression value must be a number."));
                }
            }
        }
        let compare = |op: &str, bound: Type| operation(op, kind, bound).filter(|_| fits(bound));
        let (Some((_, from)), Some((_, to))) = (compare(">=", low_kind), compare("<=", high_kind)) else {
            let message = format!(
                "The operator '{}' is not defined for the operand types {kind}, {low_kind} and {high_kind}.",
                op.text
            );
            return Err(Fault::of_type("KS106", op.span, message));
        };
        let again = self.expression(value, scope)?.0;
        let from = Ex::Operation(from, Box::new(bound), Box::new(low_value));
        let to = Ex::Operation(to, Box::new(again), Box::new(high_value));
        let inside = self.fold(Ex::And(Box::new(self.fold(from)), Box::new(self.fold(to))));
        let Some(not) = functions::find("not").filter(|_| op.text.starts_with('!')) else {
            return Ok((inside, Type::Bool));
        };
        Ok((self.fold(Ex::Call(not, vec![inside])), Type::Bool))
    }

    fn call(&mut self, name: &Name, args: &[Expr], scope: Scope<'_>) -> Checked<(Ex, Type)> {
        if let Some(it) = functions::find(&name.text) {
            return self.scalar_call(it, name, args, scope);
        }
        if WINDOW.iter().any(|(it, _)| *it == name.text) {
            return self.window(name, args, scope);
        }
        if let Some(it) = aggregates::find(&name.text) {
            if scope.place != Place::Summarize {
                let message = format!("The aggregate function '{}' is not allowed in this context.", name.text);
                return Err(Fault::of_type("KS144", name.span, message));
            }
            let keys = self.keys;
            return self.aggregate(it, name, args, scope, keys);
        }
        let text = name.text.as_str();
        if functions::OUTSIDE.contains(&text) || aggregates::OUTSIDE.contains(&text) {
            return Err(Fault::outside(
                name.span,
                format!(
                    "the function '{text}' is outside the subset, though Kusto accepts it; docs/kql.md lists what is in it"
                ),
            ));
        }
        let known = functions::all()
            .map(|it| it.name)
            .chain(aggregates::TABLE.iter().map(|it| it.name))
            .chain(WINDOW.map(|(it, _)| it));
        let hint = suggestion(text, known);
        Err(Fault::name("KS211", name.span, format!("The name '{text}' does not refer to any known function.{hint}")))
    }

    fn scalar_call(
        &mut self,
        it: &'static Function,
        name: &Name,
        args: &[Expr],
        scope: Scope<'_>,
    ) -> Checked<(Ex, Type)> {
        let odd =
            (it.name == "case" && args.len().is_multiple_of(2)) || (it.name.ends_with("pack") && args.len() % 2 == 1);
        if args.len() < it.least || args.len() > it.most {
            return Err(count_fault(&name.text, name.span, it.least, it.most));
        }
        if odd {
            let message =
                format!("The function call has an incorrect number of arguments: {}({})", it.name, it.signature);
            return Err(Fault::of_type("KS121", name.span, message));
        }
        let (mut bound, mut kinds) = (Vec::new(), Vec::new());
        for (at, arg) in args.iter().enumerate() {
            let (value, kind) = self.expression(arg, scope)?;
            let takes = it.takes.get(at).or(it.takes.last()).copied().unwrap_or(Takes::Any);
            let is_condition = it.name == "case" && at % 2 == 0 && at + 1 < args.len();
            check(if is_condition { Takes::Bool } else { takes }, kind, &value, arg.span)?;
            bound.push(value);
            kinds.push(kind);
        }
        let (kind, shared) = result_type(it, &kinds, name.span, args)?;
        if let Some(shared) = shared {
            let results = |at: usize| it.gives != Gives::Branches || at + 1 == args.len() || at % 2 == 1;
            let differs = |at: usize| kinds[at] != shared && shared != Type::Dynamic;
            bound = bound
                .into_iter()
                .enumerate()
                .map(|(at, it)| if results(at) && differs(at) { self.fold(Ex::Cast(shared, Box::new(it))) } else { it })
                .collect();
        }
        Ok((self.fold(Ex::Call(it, bound)), kind))
    }

    fn window(&mut self, name: &Name, args: &[Expr], scope: Scope<'_>) -> Checked<(Ex, Type)> {
        if !scope.serialized {
            let message = format!(
                "'{}' needs rows in order: put serialize, or order by, before it; Kusto refuses the query as well when it runs",
                name.text
            );
            return Err(Fault::new(crate::language::ErrorKind::Type, None, name.span, message));
        }
        let (least, most) = match name.text.as_str() {
            "row_number" => (0, 2),
            "row_cumsum" => (1, 2),
            _ => (1, 3),
        };
        if args.len() < least || args.len() > most {
            return Err(count_fault(&name.text, name.span, least, most));
        }
        let constant = |it: &mut Self, at: usize, default: i64| match args.get(at) {
            None => Ok(default),
            Some(arg) => it.constant(arg).map(|(value, _)| value.as_long().unwrap_or(default)),
        };
        if name.text == "row_number" {
            if let Some(restart) = args.get(1) {
                return Err(Fault::outside(
                    restart.span,
                    "a restart of row_number is outside the subset, though Kusto accepts it",
                ));
            }
            return Ok((Ex::RowNumber(constant(self, 0, 1)?), Type::Long));
        }
        let (value, kind) = self.expression(&args[0], scope)?;
        let value = Box::new(value);
        if name.text == "row_cumsum" {
            check(Takes::Number, kind, &value, args[0].span)?;
            let mut restart = None;
            if let Some(arg) = args.get(1) {
                let (bound, kind) = self.expression(arg, scope)?;
                check(Takes::Bool, kind, &bound, arg.span)?;
                restart = Some(Box::new(bound));
            }
            let kind = if kind == Type::Int { Type::Long } else { kind };
            return Ok((
                Ex::RowSum { value, restart, whole: kind != Type::Real, done: std::cell::Cell::new((0, 0.0, 0)) },
                kind,
            ));
        }
        let rows = constant(self, 1, 1)?;
        let default = match args.get(2) {
            Some(arg) => functions::convert(kind, &self.constant(arg)?.0),
            None if kind == Type::String => Value::text(""),
            None => Value::Null,
        };
        let ahead = if name.text == "prev" { rows.saturating_neg() } else { rows };
        Ok((Ex::Neighbour { value, ahead, default: Box::new(Ex::Const(default)) }, kind))
    }
}

/// A dynamic array stands for its elements.
fn elements(value: &Value) -> Vec<Value> {
    match value {
        Value::Dynamic(json) => match json.as_array() {
            Some(items) => items.iter().filter_map(Value::of_json).collect(),
            None => Value::of_json(json).into_iter().collect(),
        },
        other => vec![other.clone()],
    }
}

fn check(takes: Takes, kind: Type, value: &Ex, span: Span) -> Checked<()> {
    let whole = matches!(kind, Type::Int | Type::Long);
    let (code, message) = match takes {
        Takes::Number if !kind.is_number() => ("KS137", "The expression value must be a number."),
        Takes::Size if !kind.is_number() && kind != Type::TimeSpan => {
            ("KS127", "The function takes a number or a timespan.")
        }
        Takes::Integer if !whole => ("KS134", "The expression value must be an integer."),
        Takes::Long if !whole => ("KS107", "A value of type long expected."),
        Takes::Text if !matches!(kind, Type::String | Type::Dynamic) => {
            ("KS141", "The expression must have one of the types: string or dynamic.")
        }
        Takes::String if !matches!(kind, Type::String | Type::Dynamic) => ("KS107", "A value of type string expected."),
        Takes::Bool if kind != Type::Bool => ("KS107", "A value of type bool expected."),
        Takes::Time if kind != Type::DateTime => ("KS107", "A value of type datetime expected."),
        Takes::Span if kind != Type::TimeSpan => ("KS107", "A value of type timespan expected."),
        Takes::Array if kind != Type::Dynamic => ("KS234", "The expression value must be a dynamic array."),
        Takes::Bag if kind != Type::Dynamic => ("KS235", "The expression must be a dynamic bag."),
        Takes::Constant if value.constant().is_none() => ("KS129", "The expression must be a constant."),
        Takes::Unit => {
            let known =
                value.constant().is_some_and(|it| functions::UNITS.contains(&it.to_string().to_lowercase().as_str()));
            if known {
                return Ok(());
            }
            let units = functions::UNITS.join(", ");
            return Err(Fault::of_type("KS140", span, format!("The expression must be one of the values: {units}")));
        }
        _ => return Ok(()),
    };
    Err(Fault::of_type(code, span, message))
}

/// `coalesce`, `min_of` and `max_of` take values of one type, or numbers.
fn common_fault(it: &Function, kinds: &[Type], span: Span, args: &[Expr]) -> Checked<()> {
    let unordered = kinds.iter().position(|it| matches!(it, Type::Dynamic | Type::Guid));
    if let Some(at) = unordered.filter(|_| it.name != "coalesce") {
        let message = "The argument value must be orderable: a number, timespan, datetime, string or boolean.";
        return Err(Fault::of_type("KS206", args[at].span, message));
    }
    let dynamic = kinds.iter().filter(|it| **it == Type::Dynamic).count();
    if dynamic > 0 && dynamic < kinds.len() {
        return Err(Fault::of_type("KS141", span, "The expression must have the type dynamic."));
    }
    if dynamic == 0 && common(kinds) == Type::Dynamic {
        return Err(Fault::of_type("KS232", span, "No common type can be determined from the arguments."));
    }
    Ok(())
}

/// The result's type, and the type that the values it is chosen from are widened to.
fn result_type(it: &Function, kinds: &[Type], span: Span, args: &[Expr]) -> Checked<(Type, Option<Type>)> {
    let first = kinds.first().copied().unwrap_or(Type::Dynamic);
    Ok(match it.gives {
        Gives::Is(kind) => (kind, None),
        Gives::First => (first, None),
        Gives::Whole => (if first == Type::Int && it.name == "abs" { Type::Long } else { first }, None),
        Gives::Common => {
            common_fault(it, kinds, span, args)?;
            let kind = common(kinds);
            (kind, Some(kind))
        }
        Gives::Branches => {
            let last = kinds.len() - 1;
            let results: Vec<Type> =
                (0..kinds.len()).filter(|at| at % 2 == 1 || *at == last).map(|at| kinds[at]).collect();
            let kind = common(&results);
            (kind, Some(kind))
        }
        Gives::Bin => match (first, kinds[1]) {
            (Type::DateTime | Type::TimeSpan, Type::TimeSpan) => (first, None),
            (Type::Int | Type::Long, Type::Int | Type::Long) => (Type::Long, None),
            (a, b) if a.is_number() && b.is_number() => (Type::Real, None),
            (a, b) if a == Type::String || a == Type::Dynamic || a == Type::Bool || a == Type::Guid => {
                let _ = b;
                return Err(Fault::of_type("KS137", args[0].span, "The expression value must be a number."));
            }
            (a, b) => {
                let message = format!("The function '{}' is not compatible with arguments ({a}, {b})", it.name);
                return Err(Fault::of_type("KS127", span, message));
            }
        },
    })
}
