//! The argument structs, from the list that the C kernels' header is made from too.

use crate::tensor::Image;

type ConstFloat = *const f32;
type Unsigned = usize;
type Float = f32;

macro_rules! arguments {
    ($($(#[$doc:meta])* $_op:ident $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ident,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        pub struct $name { $($(#[$field_doc])* pub(crate) $field: $type,)* }

        // Each field follows the one before without padding, as the C header asserts of its own struct.
        const _: () = {
            let mut _offset = 0;
            $(
                assert!(core::mem::offset_of!($name, $field) == _offset);
                _offset += size_of::<$type>();
            )*
            assert!(size_of::<$name>() == _offset.next_multiple_of(align_of::<usize>()));
        };
    )*};
}
include!("../../kernels/arguments.rs");
