//! Link settings that only the embedded binary needs.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_EMBED").is_some() {
        // The binary must find the libpython it was linked with, also where that is not in the
        // loader's default path, as with pyenv.
        let config = pyo3_build_config::get();
        if let Some(directory) = &config.lib_dir() {
            println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{directory}");
        }
        // With a static libpython, extension modules look up its symbols in the executable.
        println!("cargo:rustc-link-arg-bins=-rdynamic");
    }
}
