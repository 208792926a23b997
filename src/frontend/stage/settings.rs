//! Instructions that say how the image is run, and touch no files.

use super::*;

/// All ports of all protocols. One instruction can name them all in a few bytes, as often as it likes.
const MOST_PORTS: usize = 3 << 16;

impl Stage<'_, '_> {
    pub(super) fn cmd(&mut self, command: &Command) -> Result<(), Problems> {
        let argv = self.argv(command);
        let created_by = format!("CMD {}", history::quoted(&argv));
        self.state.config.config.cmd = Some(argv);
        self.state.config.config.args_escaped = true;
        self.has_command = true;
        self.note(created_by)
    }

    pub(super) fn entrypoint(&mut self, command: &Command) -> Result<(), Problems> {
        let argv = self.argv(command);
        let created_by = format!("ENTRYPOINT {}", history::quoted(&argv));
        self.state.config.config.entrypoint = (!argv.is_empty()).then_some(argv);
        if !self.has_command {
            self.state.config.config.cmd = None;
        }
        self.note(created_by)
    }

    pub(super) fn expose(&mut self, words: &[Word]) -> Result<(), Problems> {
        let mut words: Vec<&Word> = words.iter().collect();
        words.sort_by(|a, b| a.value.cmp(&b.value));
        let expander = self.expander();
        let mut found = Vec::new();
        let mut count = 0;
        let ports = all(words.into_iter().map(|word| {
            let specs = expander.words(word)?;
            found.extend(specs.iter().flat_map(|spec| lint::port(spec, word.span)));
            let mut parse = |spec: &String| {
                let invalid = |message: String| Problems::from(Diagnostic::error("invalid-port", message, word.span));
                if count > MOST_PORTS {
                    return Err(invalid("more ports are exposed than there are".to_owned()));
                }
                let ports = ports::parse(spec).map_err(|error| invalid(error.to_string()))?;
                count += ports.len();
                Ok(ports)
            };
            all(specs.iter().map(&mut parse))
        }))?;
        self.warn(found);
        let ports: Vec<String> = ports.into_iter().flatten().flatten().collect();
        let created_by = format!("EXPOSE {}", history::plain(&ports));
        self.state.config.config.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
        self.note(created_by)
    }

    pub(super) fn volume(&mut self, words: &[Word]) -> Result<(), Problems> {
        let expander = self.expander();
        let volumes = all(words.iter().map(|word| {
            let path = expander.word(word)?;
            if path.is_empty() {
                let message = "VOLUME specified can not be an empty string";
                return Err(Diagnostic::error("empty-volume", message, word.span).into());
            }
            Ok(path)
        }))?;
        let created_by = format!("VOLUME {}", history::plain(&volumes));
        self.state.config.config.volumes.extend(volumes.into_iter().map(|path| (path, Empty {})));
        self.note(created_by)
    }

    pub(super) fn stop_signal(&mut self, word: &Word) -> Result<(), Problems> {
        let text = self.expander().word(word)?;
        if !signal::is_valid(&text) {
            let problem = Diagnostic::error("invalid-signal", format!("invalid signal: {text}"), word.span);
            return Err(problem.with_help("a number, or a name such as SIGTERM").into());
        }
        self.state.config.config.stop_signal = Some(text.clone());
        self.note(format!("STOPSIGNAL {text}"))
    }

    pub(super) fn healthcheck(&mut self, check: &instruction::Healthcheck) -> Result<(), Problems> {
        let check = match check {
            instruction::Healthcheck::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
            instruction::Healthcheck::Command { command, interval, timeout, start_period, start_interval, retries } => {
                let test = match command {
                    Command::Exec(argv) => std::iter::once("CMD".to_owned()).chain(argv.value.clone()).collect(),
                    Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
                };
                Healthcheck {
                    test,
                    interval: *interval,
                    timeout: *timeout,
                    start_period: *start_period,
                    start_interval: *start_interval,
                    retries: *retries,
                }
            }
        };
        let created_by = format!("HEALTHCHECK {}", history::healthcheck(&check));
        self.state.config.config.healthcheck = Some(check);
        self.note(created_by)
    }

    pub(super) fn shell(&mut self, shell: &[String]) -> Result<(), Problems> {
        self.state.config.config.shell = Some(shell.to_vec());
        self.note(format!("SHELL {}", history::plain(shell)))
    }
}
