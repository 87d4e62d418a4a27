//! The templates, and what they become.

use std::path::Path;

use minijinja::{Environment, UndefinedBehavior, context};

use super::rows::Kernel;

/// Every template of `kernels`.
pub fn templates(kernels: &Path) -> Result<Environment<'static>, String> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    for name in super::names(kernels, ".jinja")?.into_iter().map(|name| format!("{name}.jinja")) {
        let text = super::read(&kernels.join(&name))?;
        templates.add_template_owned(name.clone(), text).map_err(|error| format!("kernels/{name}: {error:#}"))?;
    }
    Ok(templates)
}

/// The C source of one kernel.
pub fn kernel(templates: &Environment<'_>, kernel: &Kernel<'_>) -> Result<String, String> {
    let name = format!("{}.c.jinja", kernel.op);
    templates
        .get_template(&name)
        .and_then(|template| {
            template.render(context! {
                name => kernel.name,
                symbol => kernel.symbol(),
                reason => kernel.reason,
                tile => kernel.facts,
                isa => kernel.isa,
            })
        })
        .map_err(|error| format!("kernels/{name}, expanding {}: {error:#}", kernel.name))
}

#[cfg(test)]
mod tests {
    use super::super::{isa, kernels, rows};

    /// On every machine, those of all targets.
    #[test]
    fn every_row_expands() {
        let isas = isa::read_all(&kernels().join("isa")).unwrap();
        let templates = super::templates(&kernels()).unwrap();
        for row in rows::read(&kernels().join("kernels.toml"), &isas).unwrap() {
            let c = super::kernel(&templates, &row).unwrap();
            assert!(c.contains(&format!("void {}(", row.symbol())), "{}", row.name);
            assert!(c.contains(&row.reason), "{}", row.name);
        }
    }

    #[test]
    fn an_op_without_a_template_says_which() {
        let isas = isa::read_all(&kernels().join("isa")).unwrap();
        let mut row = rows::read(&kernels().join("kernels.toml"), &isas).unwrap().remove(0);
        row.op = "nothing".into();
        let error = super::kernel(&super::templates(&kernels()).unwrap(), &row).unwrap_err();
        assert!(error.contains("kernels/nothing.c.jinja, expanding pw_f32_6x16_avx2: "), "{error}");
    }
}
