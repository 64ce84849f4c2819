//! The table: each figure with its unit, and where there is a goal, whether it is reached.

use serde_json::{Value, json};

pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    group: &'static str,
    name: String,
    value: f64,
    unit: &'static str,
    /// Highest (or, with `at_least`, lowest) value that counts as reached.
    goal: Option<f64>,
    at_least: bool,
}

impl Report {
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    pub fn figure(&mut self, group: &'static str, name: impl Into<String>, value: f64, unit: &'static str) {
        self.push(group, name.into(), value, unit, None, false);
    }

    /// A figure that must not be above its goal.
    pub fn at_most(&mut self, group: &'static str, name: impl Into<String>, value: f64, unit: &'static str, goal: f64) {
        self.push(group, name.into(), value, unit, Some(goal), false);
    }

    /// A figure that must not be below its goal.
    pub fn at_least(&mut self, group: &'static str, name: impl Into<String>, value: f64, unit: &'static str, goal: f64) {
        self.push(group, name.into(), value, unit, Some(goal), true);
    }

    fn push(&mut self, group: &'static str, name: String, value: f64, unit: &'static str, goal: Option<f64>, at_least: bool) {
        eprintln!("  {group} · {name}: {} {unit}", short(value));
        self.rows.push(Row {
            group,
            name,
            value,
            unit,
            goal,
            at_least,
        });
    }

    pub fn print(&self) {
        println!("| what | figure | goal | reached |\n| --- | ---: | ---: | --- |");
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                println!("| **{group}** | | | |");
            }
            let goal = row.goal.map_or(String::new(), |goal| {
                format!("{} {} {}", if row.at_least { "≥" } else { "≤" }, short(goal), row.unit)
            });
            let reached = row.reached().map_or("", |reached| if reached { "yes" } else { "**no**" });
            println!("| {} | {} {} | {goal} | {reached} |", row.name, short(row.value), row.unit);
        }
    }

    pub fn json(&self) -> Value {
        self.rows
            .iter()
            .map(|row| {
                json!({
                    "group": row.group, "name": row.name, "value": row.value, "unit": row.unit,
                    "goal": row.goal, "at_least": row.at_least, "reached": row.reached(),
                })
            })
            .collect()
    }
}

impl Row {
    fn reached(&self) -> Option<bool> {
        let goal = self.goal?;
        Some(if self.at_least { self.value >= goal } else { self.value <= goal })
    }
}

/// Three figures that mean something.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
