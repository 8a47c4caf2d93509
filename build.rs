//! Sets the `cfg`s for the Python version, and link options of the embedded binary.

/// The interpreter that a virtual environment was created from.
fn base_interpreter(python: &str) -> Option<String> {
    let code = "import sys; print(getattr(sys, '_base_executable', sys.executable))";
    let output = std::process::Command::new(python).args(["-c", code]).output().ok()?;
    let base = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !base.is_empty()).then_some(base)
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_PYTHON").is_some() {
        // `Py_GIL_DISABLED`
        pyo3_build_config::use_pyo3_cfgs();
    }
    if std::env::var_os("CARGO_FEATURE_EMBED").is_some() {
        // The binary must find the libpython that it was linked with, also outside the loader's
        // default path, as with pyenv.
        let config = pyo3_build_config::get();
        if let Some(directory) = &config.lib_dir() {
            println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{directory}");
        }
        // The standard library is found from this path if there is no virtual environment.
        if let Some(python) = &config.executable()
            && let Some(base) = base_interpreter(python)
        {
            println!("cargo:rustc-env=RUSTWSGI_PYTHON={base}");
        }
        // With a static libpython, extension modules look up its symbols in the executable.
        println!("cargo:rustc-link-arg-bins=-rdynamic");
    }
}
