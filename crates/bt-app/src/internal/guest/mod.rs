//! A guest as wasmtime sees it: what it imports, and what belongs to one call.
//!
//! Of WASI, clocks, random numbers, streams and standard input and output are wasmtime's own, each bound by name; sockets
//! are bound too, so that programs made with them start, and refuse everything. Files are ours, over the channel.

mod body;
pub(crate) mod channel;
mod files;
mod hooks;
mod http;
mod limiter;
mod output;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};

use tokio::net::UnixStream;
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::{Engine, Store, Trap};
use wasmtime_wasi::p2::bindings::{CommandPre, cli, clocks, random, sockets};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use self::channel::Channel;
use self::files::Files;
use self::hooks::Hooks;
use self::limiter::Limiter;
use self::output::Output;
use crate::error::GuestFailure;
use crate::limits::{HEADERS_SIZE, TURN};
use crate::options::{Entry, Limits};
use crate::protocol::message::FromNode;
use crate::protocol::{Start, What};
use crate::services::OutputStream;

/// What belongs to one call.
pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    files: Files,
    limiter: Limiter,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// A component that is ready to be instantiated for each call.
pub(crate) struct App {
    engine: Engine,
    limits: Limits,
    entry: Ready,
    hooks: Hooks,
    running: AtomicUsize,
    ticker: Thread,
}

enum Ready {
    Http(ProxyPre<Guest>),
    Run(CommandPre<Guest>),
}

impl App {
    /// Binds a component's imports and finds its entry.
    pub fn new(
        engine: &Engine,
        component: &Component,
        entry: Entry,
        limits: Limits,
        outgoing: Option<UnixStream>,
    ) -> wasmtime::Result<Arc<Self>> {
        let prepared = linker(engine)?.instantiate_pre(component)?;
        let entry = match entry {
            Entry::Http => Ready::Http(ProxyPre::new(prepared)?),
            Entry::Run => Ready::Run(CommandPre::new(prepared)?),
        };
        Ok(Arc::new_cyclic(|app| {
            let app = app.clone();
            let ticking = engine.clone();
            let ticker = thread::Builder::new().name("turns".into()).spawn(move || tick(&ticking, &app));
            let ticker = ticker.expect("a thread can be started before the first call").thread().clone();
            let hooks = Hooks(outgoing.map(Arc::new));
            Self { engine: engine.clone(), limits, entry, hooks, running: AtomicUsize::new(0), ticker }
        }))
    }

    /// Serves one call from its first message to its last.
    pub async fn serve(self: Arc<Self>, stream: UnixStream) {
        let Some((FromNode::Start(start), channel, mut driver)) = channel::open(stream).await else { return };
        let _running = Counted::enter(&self);
        let ended = tokio::select! {
            biased;
            () = self.call(start, channel.clone()) => true,
            // The node does not want it any more.
            () = driver.drive() => false,
        };
        if ended {
            channel.finish();
            driver.drive().await;
        }
        // Only now, when the guest is gone and its place is free, does the node see the channel closed.
        drop(driver);
    }

    async fn call(&self, start: Start, channel: Channel) {
        let mut builder = WasiCtxBuilder::new();
        builder.envs(&start.environment).allow_tcp(false).allow_udp(false);
        builder.stdout(Output::new(channel.clone(), OutputStream::Standard));
        builder.stderr(Output::new(channel.clone(), OutputStream::Error));
        let files = Files::new(channel.clone(), start.roots);
        match (&self.entry, start.what) {
            (Ready::Http(entry), What::Http(request)) => {
                let store = self.store(builder.build(), files);
                http::call(entry, store, request, &channel).await;
            }
            (Ready::Run(entry), What::Run { arguments }) => {
                builder.args(&arguments).stdin(body::Input::new(channel.clone()));
                let store = self.store(builder.build(), files);
                run::call(entry, store, &channel).await;
            }
            _ => channel.tell_failure(&GuestFailure::Instantiate("it has another entry".to_owned()), ""),
        }
    }

    fn store(&self, wasi: WasiCtx, files: Files) -> Store<Guest> {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(2 * HEADERS_SIZE);
        let limiter = Limiter::new(&self.limits);
        let guest = Guest { wasi, table: ResourceTable::new(), http, hooks: self.hooks.clone(), files, limiter };
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        if let Some(fuel) = self.limits.fuel {
            store.set_fuel(fuel).expect("the engine counts fuel");
        }
        store
    }
}

/// What a guest may import.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
    use wasmtime_wasi::random::WasiRandom;
    use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
    use wasmtime_wasi_io::bindings::wasi::io;

    let mut linker = Linker::<Guest>::new(engine);
    let l = &mut linker;
    io::error::add_to_linker::<Guest, Table>(l, |guest| &mut guest.table)?;
    io::poll::add_to_linker::<Guest, Table>(l, |guest| &mut guest.table)?;
    io::streams::add_to_linker::<Guest, Table>(l, |guest| &mut guest.table)?;
    clocks::wall_clock::add_to_linker::<Guest, WasiClocks>(l, WasiClocksView::clocks)?;
    clocks::monotonic_clock::add_to_linker::<Guest, WasiClocks>(l, WasiClocksView::clocks)?;
    random::random::add_to_linker::<Guest, WasiRandom>(l, wasmtime_wasi::random::WasiRandomView::random)?;
    random::insecure::add_to_linker::<Guest, WasiRandom>(l, wasmtime_wasi::random::WasiRandomView::random)?;
    random::insecure_seed::add_to_linker::<Guest, WasiRandom>(l, wasmtime_wasi::random::WasiRandomView::random)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::environment::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::stdin::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::stdout::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::stderr::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(l, WasiCliView::cli)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<Guest, WasiSockets>(l, &options, WasiSocketsView::sockets)?;
    sockets::instance_network::add_to_linker::<Guest, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<Guest, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::tcp::add_to_linker::<Guest, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<Guest, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::udp::add_to_linker::<Guest, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::udp_create_socket::add_to_linker::<Guest, WasiSockets>(l, WasiSocketsView::sockets)?;
    files::add_to_linker(l)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    Ok(linker)
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Lets calls have their turns while there are any.
fn tick(engine: &Engine, app: &std::sync::Weak<App>) {
    loop {
        thread::sleep(TURN);
        engine.increment_epoch();
        // It is not there yet while it is made, which is when this begins.
        if app.upgrade().is_none_or(|app| app.running.load(Ordering::SeqCst) == 0) {
            thread::park();
        }
    }
}

/// One of the calls that run.
struct Counted<'a>(&'a App);

impl<'a> Counted<'a> {
    fn enter(app: &'a App) -> Self {
        if app.running.fetch_add(1, Ordering::SeqCst) == 0 {
            app.ticker.unpark();
        }
        Self(app)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How a guest failed, and what a developer wants to know of it.
fn failure(error: &wasmtime::Error, store: &Store<Guest>) -> (GuestFailure, String) {
    let limiter = &store.data().limiter;
    let failure = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => GuestFailure::Stack,
        Some(Trap::OutOfFuel) => GuestFailure::Fuel { limit: limiter.fuel() },
        // It traps because it got no memory.
        _ if limiter.refused_memory() => GuestFailure::Memory { limit: limiter.memory() },
        _ => GuestFailure::Trap(short(&error.root_cause().to_string())),
    };
    (failure, format!("{error:?}"))
}

/// What fits a message.
fn short(text: &str) -> String {
    text[..text.floor_char_boundary(200)].to_owned()
}
