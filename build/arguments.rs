//! The C side of the argument structs, with the layout that the Rust side has asserted.

use std::fmt::Write as _;

/// An argument struct: its name after `sepconv_`, its fields.
struct Arguments {
    name: &'static str,
    fields: &'static [Field],
}

/// A field of an argument struct.
struct Field {
    name: &'static str,
    of: Type,
}

/// What a field holds; it is as wide as its alignment, or three words.
#[derive(Clone, Copy)]
enum Type {
    ConstFloat,
    Unsigned,
    Float,
    Image,
}

impl Type {
    /// The declaration up to the name, and the size in bytes.
    fn c(self) -> (&'static str, usize) {
        match self {
            Type::ConstFloat => ("const float *", 8),
            Type::Unsigned => ("size_t ", 8),
            Type::Float => ("float ", 4),
            Type::Image => ("struct sepconv_image ", 24),
        }
    }
}

macro_rules! arguments {
    ($($(#[$_doc:meta])* $op:ident $_name:ident { $($(#[$_field_doc:meta])* $field:ident: $type:ident,)* })*) => {
        const ARGUMENTS: &[Arguments] = &[$(Arguments {
            name: stringify!($op),
            fields: &[$(Field { name: stringify!($field), of: Type::$type }),*],
        }),*];
    };
}
include!("../kernels/arguments.rs");

/// The struct that the crate's `Image` is in C.
const IMAGE: &str = "
struct sepconv_image {
    float *pointer;
    ptrdiff_t pixel_stride;
    ptrdiff_t row_stride;
};
_Static_assert(offsetof(struct sepconv_image, pixel_stride) == 8, \"layout\");
_Static_assert(offsetof(struct sepconv_image, row_stride) == 16, \"layout\");
_Static_assert(sizeof(struct sepconv_image) == 24, \"layout\");
";

/// The header that the expanded kernels include.
pub fn header() -> String {
    let mut c = String::from("/* Expanded from kernels/arguments.rs. */\n#include <stddef.h>\n");
    c.push_str(IMAGE);
    for Arguments { name, fields } in ARGUMENTS {
        let (mut layout, mut offset) = (String::new(), 0);
        let _ = writeln!(c, "\nstruct sepconv_{name} {{");
        for Field { name: field, of } in *fields {
            let (declaration, size) = of.c();
            let _ = writeln!(c, "    {declaration}{field};");
            let _ =
                writeln!(layout, "_Static_assert(offsetof(struct sepconv_{name}, {field}) == {offset}, \"layout\");");
            offset += size;
        }
        let size = offset.next_multiple_of(8);
        let _ = write!(c, "}};\n{layout}");
        let _ = writeln!(c, "_Static_assert(sizeof(struct sepconv_{name}) == {size}, \"layout\");");
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_each_other() {
        let header = header();
        for line in [
            "struct sepconv_pointwise {\n    struct sepconv_image a;\n    size_t rows;\n",
            "_Static_assert(offsetof(struct sepconv_pointwise, rows) == 24, \"layout\");",
            "_Static_assert(offsetof(struct sepconv_depthwise, input_lo) == 144, \"layout\");",
            "_Static_assert(sizeof(struct sepconv_depthwise) == 160, \"layout\");",
        ] {
            assert!(header.contains(line), "{line}\n{header}");
        }
    }
}
