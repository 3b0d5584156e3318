//! Bicep files as data: what they declare, refer to and say, read from their syntax trees.

use serde_json::{Map, Value, json};
use tree_sitter::{Node, Parser, Tree};

pub(crate) struct Bicep {
    text: String,
    tree: Tree,
}

/// A `param`, `var`, `resource`, `module` or `output`.
pub(crate) struct Declaration<'a> {
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    file: &'a Bicep,
    node: Node<'a>,
}

/// A name that is used, or a function that is called.
pub(crate) enum Reference<'a> {
    /// Where a value is meant.
    Name(&'a str),
    Call(&'a str),
    /// `module.outputs.name`.
    Output {
        module: &'a str,
        name: &'a str,
    },
}

impl Bicep {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_bicep::LANGUAGE.into()).unwrap();
        Self { text: text.to_owned(), tree: parser.parse(text, None).unwrap() }
    }

    /// A parameter file. The grammar does not know its `param name = value`, which reads as a variable.
    pub(crate) fn parse_parameters(text: &str) -> Self {
        let lines = text.lines().map(|it| it.strip_prefix("param ").map_or(it.to_owned(), |it| format!("var {it}")));
        Self::parse(&lines.map(|it| it + "\n").collect::<String>())
    }

    /// What the grammar does not accept.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        each(self.tree.root_node(), &mut |node| {
            if node.is_error() || node.is_missing() {
                faults.push(format!("line {}: {:?}", node.start_position().row + 1, self.source(node)));
            }
        });
        faults
    }

    /// Everything declared, in order.
    pub(crate) fn declarations(&self) -> Vec<Declaration<'_>> {
        let declared = |node: Node<'_>| {
            Some(match node.kind() {
                "parameter_declaration" => "param",
                "variable_declaration" => "var",
                "resource_declaration" => "resource",
                "module_declaration" => "module",
                "output_declaration" => "output",
                _ => return None,
            })
        };
        named(self.tree.root_node())
            .into_iter()
            .filter_map(|node| {
                Some(Declaration { kind: declared(node)?, name: self.source(named(node)[0]), file: self, node })
            })
            .collect()
    }

    /// The declaration of that name, which must exist. An output may have the name of something else.
    pub(crate) fn declaration(&self, kind: &str, name: &str) -> Declaration<'_> {
        let found = self.declarations().into_iter().find(|it| it.kind == kind && it.name == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// The file it says it is `using`.
    pub(crate) fn using(&self) -> Option<&str> {
        let statement = named(self.tree.root_node()).into_iter().find(|it| it.kind() == "using_statement")?;
        Some(unquoted(self.source(named(statement)[0])))
    }

    /// Names used and functions called, but for what loops and lambdas declare for themselves.
    pub(crate) fn references(&self) -> Vec<Reference<'_>> {
        let mut references = Vec::new();
        self.collect(self.tree.root_node(), &[], &mut references);
        references
    }

    fn collect<'a>(&'a self, node: Node<'a>, local: &[&'a str], into: &mut Vec<Reference<'a>>) {
        let mut children = named(node);
        let mut local = local.to_vec();
        match node.kind() {
            "identifier" if !local.contains(&self.source(node)) => into.push(Reference::Name(self.source(node))),
            // The first is a name that this declares, or a property's.
            kind if kind.ends_with("_declaration") => drop(children.remove(0)),
            "object_property" if children[0].kind() == "identifier" => drop(children.remove(0)),
            "call_expression" if children[0].kind() == "identifier" => {
                into.push(Reference::Call(self.source(children.remove(0))));
            }
            "member_expression" => {
                if let Some((module, "outputs", name)) = self.path_of_three(node) {
                    into.push(Reference::Output { module, name });
                }
            }
            "for_statement" => {
                let variables = children.remove(0);
                local.extend(self.source(variables).split([',', '(', ')', ' ']).filter(|it| !it.is_empty()));
            }
            "lambda_expression" => local.push(self.source(children.remove(0))),
            _ => {}
        }
        children.into_iter().for_each(|it| self.collect(it, &local, into));
    }

    fn path_of_three<'a>(&'a self, node: Node<'a>) -> Option<(&'a str, &'a str, &'a str)> {
        let mut parts = self.source(node).split('.');
        let path = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some(path)
    }

    fn source(&self, node: Node<'_>) -> &str {
        &self.text[node.byte_range()]
    }

    /// Literals as JSON, loops as `{for, in, do}`, anything else as `{expression}`.
    fn value(&self, node: Node<'_>) -> Value {
        let parts = named(node);
        match node.kind() {
            "string" if parts.iter().all(|it| it.kind() != "interpolation") => json!(unquoted(self.source(node))),
            "number" | "boolean" | "null" => serde_json::from_str(self.source(node)).unwrap(),
            "array" => parts.into_iter().map(|it| self.value(it)).collect(),
            "object" => Value::Object(
                parts
                    .into_iter()
                    .map(|it| (unquoted(self.source(named(it)[0])).to_owned(), self.value(named(it)[1])))
                    .collect::<Map<_, _>>(),
            ),
            // What is deployed if it is.
            "if_statement" => self.value(parts[1]),
            "for_statement" => {
                json!({ "for": self.source(parts[0]), "in": self.source(parts[1]), "do": self.value(parts[2]) })
            }
            _ => json!({ "expression": self.source(node) }),
        }
    }
}

impl Declaration<'_> {
    /// Its source, decorators left out.
    pub(crate) fn source(&self) -> &str {
        self.file.source(self.node)
    }

    /// Type and API version of a resource, path of a module.
    pub(crate) fn label(&self) -> &str {
        unquoted(self.file.source(named(self.node)[1]))
    }

    pub(crate) fn is_existing(&self) -> bool {
        let mut cursor = self.node.walk();
        self.node.children(&mut cursor).any(|it| it.kind() == "existing")
    }

    /// What it is set to; `None` for a parameter without a default.
    pub(crate) fn value(&self) -> Option<Value> {
        let parts = named(self.node);
        let at = if self.kind == "var" { 1 } else { 2 };
        parts.get(at).map(|it| self.file.value(*it))
    }

    /// The `@description` before it.
    pub(crate) fn description(&self) -> Option<&str> {
        let before = self.node.prev_named_sibling().filter(|it| it.kind() == "decorators")?;
        let text = self.file.source(before).split_once("@description('")?.1;
        text.split_once("')").map(|it| it.0)
    }
}

/// Named children, comments left out.
fn named(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).filter(|it| it.kind() != "comment").collect()
}

fn each<'a>(node: Node<'a>, visit: &mut impl FnMut(Node<'a>)) {
    visit(node);
    let mut cursor = node.walk();
    node.children(&mut cursor).for_each(|it| each(it, visit));
}

fn unquoted(text: &str) -> &str {
    text.trim_matches('\'')
}
