//! One list of routes for one scope: the router, the `Allow` headers and the tests are made from it, so none of them can forget a route.

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
    ($error:ty; $($path:literal { $first:ident: $handler:path $(, $other:ident: $other_handler:path)* })*) => {
        /// Path → methods, as the router has them.
        pub const TABLE: &[(&str, &[&str])] =
            &[$(($path, &[$crate::http::table::method!($first) $(, $crate::http::table::method!($other))*])),*];

        fn resources(scope: actix_web::Scope) -> actix_web::Scope {
            scope $(.service(
                web::resource($path)
                    .route(web::$first().to($handler))
                    $(.route(web::$other().to($other_handler)))*
                    .default_service(web::to(|| async {
                        const ALLOW: &str = concat!($crate::http::table::method!($first) $(, ", ", $crate::http::table::method!($other))*);
                        Err::<HttpResponse, $error>(Problem::method(ALLOW).into())
                    })),
            ))*
        }
    };
}

pub(in crate::http) use {method, table};
