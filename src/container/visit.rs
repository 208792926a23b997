use super::changes::stopped;
use super::{Containers, Error};
use crate::exec::{Again, Asker, Prepared, Stack};
use crate::runtime::{self, ContainerSpec, ProgramError, Running, Stdio};
use crate::snapshot::Active;
use crate::store::ContainerRecord;

/// A process over files that are there only for it: what it changes goes with it.
pub struct Visit {
    // In the order in which they go: the process, what it has mounted, its files.
    running: Running,
    _prepared: Prepared,
    _active: Active,
}

/// What is run in a visit.
#[derive(Debug, Clone, Default)]
pub struct Visitor {
    /// The program and its arguments; of several, the first that is there.
    pub programs: Vec<Vec<String>>,
    /// Variables besides those of the step, where that has none of the name.
    pub env: Vec<(String, String)>,
}

impl Visit {
    /// Returns the process.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Waits for the end of the process; returns its exit code as shells count.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn wait(self) -> Result<i32, Error> {
        Ok(self.running.wait()?.status.shell_code())
    }
}

impl Containers {
    /// Starts a process like that of a step over `stack`.
    ///
    /// # Errors
    /// Those of the runtime, of mounts and of layers.
    pub fn visit(&self, stack: &Stack, again: &Again<'_>, visitor: &Visitor, stdio: Stdio) -> Result<Visit, Error> {
        let active = self.library.writable(stack, again.asker)?;
        let prepared = again.prepare(active.view())?;
        let mut spec = prepared.spec().clone();
        let known: Vec<String> = spec.env.iter().map(|(name, _)| name.clone()).collect();
        spec.env.extend(visitor.env.iter().filter(|(name, _)| !known.contains(name)).cloned());
        let running = self.first(spec, &visitor.programs, stdio, again.asker)?;
        Ok(Visit { running, _prepared: prepared, _active: active })
    }

    /// Starts the first of several programs that is there.
    fn first(
        &self,
        spec: ContainerSpec,
        programs: &[Vec<String>],
        stdio: Stdio,
        asker: Asker<'_>,
    ) -> Result<Running, Error> {
        let mut missing = Error::NoShell;
        for argv in programs {
            let spec = ContainerSpec { argv: argv.clone(), ..spec.clone() };
            match self.runtime.start(&spec, stdio, asker.cancel) {
                Err(runtime::Error::Program(ProgramError::NotFound { .. } | ProgramError::NotInPath { .. }))
                    if programs.len() > 1 => {}
                Err(error) => {
                    missing = error.into();
                    break;
                }
                Ok(running) => return Ok(running),
            }
        }
        Err(missing)
    }

    /// Returns all files of a container whose process does not run: its layers, and its changes over them.
    ///
    /// # Errors
    /// Those of the store; where changes have to be made a layer, those of that.
    pub fn whole(&self, container: &ContainerRecord, asker: Asker<'_>) -> Result<Stack, Error> {
        let stack = self.stack(container)?;
        let tree = self.tree(container)?;
        if container.stubs.is_empty()
            && let Some(laid) = self.library.laid_over(&stack, &tree)?
        {
            return Ok(laid);
        }
        let layer = self.write_layer(container, &stack, asker)?;
        stopped(asker.cancel)?;
        let Some(layer) = layer else { return Ok(stack) };
        self.store().doom_layer(layer)?;
        Ok(stack.over_stored(layer))
    }
}
