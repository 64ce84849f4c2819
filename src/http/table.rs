//! One list of routes for one scope: the router, the `Allow` headers, the OpenAPI document and the tests are made from it, so none of them can forget a route.

macro_rules! method {
    (get) => {
        "GET"
    };
    (post) => {
        "POST"
    };
}

/// `table! { ErrorType; "/path" { get: handler, post: handler } … }` makes `TABLE` and `resources(scope)`. Other methods get 405 as that error.
macro_rules! table {
    ($error:ty; $($path:literal { $first:ident: $($handler:ident)::+ $(, $other:ident: $($other_handler:ident)::+)* })*) => {
        /// Path → methods, as the router has them.
        pub const TABLE: &[(&str, &[&str])] =
            &[$(($path, &[$crate::http::table::method!($first) $(, $crate::http::table::method!($other))*])),*];

        fn resources(scope: actix_web::Scope) -> actix_web::Scope {
            scope $(.service(
                web::resource($path)
                    .route(web::$first().to($($handler)::+))
                    $(.route(web::$other().to($($other_handler)::+)))*
                    .default_service(web::to(|| async {
                        const ALLOW: &str = concat!($crate::http::table::method!($first) $(, ", ", $crate::http::table::method!($other))*);
                        Err::<HttpResponse, $error>(Problem::method(ALLOW).into())
                    })),
            ))*
        }
    };
}

/// The same list as operations of an OpenAPI document.
macro_rules! operations {
    ($error:ty; $($path:literal { $($method:ident: $($handler:ident)::+),+ })*) => {
        /// Every operation of the list, with the annotation that stands at its handler.
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($($($handler)::+),+),*))]
        struct Operations;
    };
}

pub(in crate::http) use {method, operations, table};
