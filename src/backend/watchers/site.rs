//! Where watchers are: the engine, what surrounds it, and the box as last seen.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::backend::engine::Engine;
use crate::backend::environment::Environment;
use crate::backend::ports::Ports;
use crate::backend::settings::Settings;
use crate::domain::{Fact, Host, Load};

/// What all watchers work with.
pub struct Site {
    /// The engine.
    pub engine: Arc<Engine>,
    env: Arc<Environment>,
    host: Mutex<Arc<Host>>,
}

impl Site {
    /// A site of which nothing has been seen yet.
    pub(in crate::backend) fn new(engine: Arc<Engine>, env: Arc<Environment>) -> Self {
        Self { engine, env, host: Mutex::default() }
    }

    /// What the world can be asked for.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.env.ports
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.env.settings
    }

    /// What the box can do, as last seen.
    #[must_use]
    pub fn host(&self) -> Arc<Host> {
        self.host.lock().clone()
    }

    /// Changes what is known of the box, and tells it.
    pub(super) fn change_host(&self, how: impl FnOnce(&mut Host)) {
        let told = {
            let mut host = self.host.lock();
            how(Arc::make_mut(&mut host));
            host.clone()
        };
        self.engine.events.publish(Fact::Host(told));
    }

    /// Changes how loaded the box is, and tells that alone.
    pub(super) fn change_load(&self, load: Load) {
        let mut host = self.host.lock();
        Arc::make_mut(&mut host).load = load;
        self.engine.events.publish(Fact::Load(load));
    }
}
