//! Every interleaving of a few short programs that share words of memory.
//!
//! A program is an ordinary function that touches shared memory through its [`Cpu`] alone, so it is determined by what
//! its accesses answer. To take one step further it is run again from its beginning: earlier accesses answer what they
//! answered before, the next one happens, and all that come after it are idle. Programs must therefore end whatever
//! their accesses answer, as the packet program's have to for the verifier, too.
//!
//! Memory is sequentially consistent here. So it is for the protocol on x86-64: between a plain store of the program and
//! its next load there is always a locked instruction; but for the store of a time, which may come late anyhow.

use core::{cell::RefCell, hash::BuildHasher as _};
use std::{boxed::Box, collections::HashSet, format, hash::RandomState, string::String, vec, vec::Vec};

/// One access to a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Answers the word.
    Load(usize),
    /// Writes the word.
    Store(usize, u64),
    /// Writes the high half of the word.
    StoreHigh(usize, u32),
    /// Writes the second value if the word is the first; answers whether it was.
    Swap(usize, u64, u64),
    /// Writes the word and answers what it was.
    Exchange(usize, u64),
    /// Adds to the word.
    Add(usize, u64),
}

impl Access {
    /// The word it may write.
    fn written(self) -> Option<usize> {
        match self {
            Self::Load(_) => None,
            Self::Store(at, _) | Self::StoreHigh(at, _) | Self::Swap(at, ..) => Some(at),
            Self::Exchange(at, _) | Self::Add(at, _) => Some(at),
        }
    }

    fn happen(self, memory: &mut [u64]) -> u64 {
        match self {
            Self::Load(at) => memory[at],
            Self::Store(at, word) => {
                memory[at] = word;
                0
            }
            Self::StoreHigh(at, half) => {
                memory[at] = memory[at] & 0xffff_ffff | u64::from(half) << 32;
                0
            }
            Self::Swap(at, old, new) => {
                let is_old = memory[at] == old;
                if is_old {
                    memory[at] = new;
                }
                u64::from(is_old)
            }
            Self::Exchange(at, word) => core::mem::replace(&mut memory[at], word),
            Self::Add(at, count) => {
                memory[at] = memory[at].wrapping_add(count);
                0
            }
        }
    }

    /// What an access answers that does not happen: what lets a loop end.
    fn idle(self) -> u64 {
        u64::from(matches!(self, Self::Swap(..)))
    }
}

/// What a program runs on.
pub(super) struct Cpu<'a>(RefCell<Turn<'a>>);

struct Turn<'a> {
    memory: &'a mut [u64],
    constant: &'a [bool],
    answers: &'a [u64],
    at: usize,
    happened: Option<(Access, u64)>,
}

impl Cpu<'_> {
    /// Accesses memory.
    pub(super) fn access(&self, access: Access) -> u64 {
        let mut turn = self.0.borrow_mut();
        if let Access::Load(at) = access
            && turn.constant[at]
        {
            return turn.memory[at];
        }
        turn.at += 1;
        if let Some(&answer) = turn.answers.get(turn.at - 1) {
            return answer;
        }
        if turn.happened.is_some() {
            return access.idle();
        }
        let answer = access.happen(turn.memory);
        turn.happened = Some((access, answer));
        answer
    }
}

/// A program; what it answers is shown to whoever looks at the end.
pub(super) type Program = Box<dyn Fn(&Cpu<'_>) -> u64>;

/// How far a program is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Progress {
    /// What its accesses have answered.
    Running(Vec<u64>),
    /// It has ended with this.
    Ended(u64),
}

/// `Err`: it is broken, and how.
type Verdict = Result<(), String>;

/// What is looked at: after every step, and when all programs have ended.
pub(super) struct Rules<'a> {
    /// Of any moment.
    pub(super) always: &'a dyn Fn(&[u64]) -> Verdict,
    /// Of the end, with what the programs answered.
    pub(super) finally: &'a dyn Fn(&[u64], &[u64]) -> Verdict,
}

/// How much there was to explore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Explored {
    /// Different states.
    pub(super) states: usize,
    /// Different ends.
    pub(super) ends: usize,
}

/// Why an exploration ended early.
enum Stop {
    /// A rule is broken, after these steps.
    Broken(String),
    /// A word that was taken for constant is written.
    Written(usize),
}

struct Explorer<'a> {
    programs: &'a [Program],
    rules: &'a Rules<'a>,
    /// Words that nobody writes: when they are read makes no difference, so it is no step.
    constant: &'a [bool],
    seen: HashSet<u64>,
    hasher: RandomState,
    /// The steps that lead to the state that is looked at.
    path: Vec<(usize, Access, u64)>,
    explored: Explored,
}

/// Runs the programs in every order of their accesses; `Err` is the first broken rule with the steps that lead there.
pub(super) fn explore(memory: &[u64], programs: &[Program], rules: &Rules<'_>) -> Result<Explored, String> {
    // Which words nobody writes is found out by trying.
    let mut constant = vec![true; memory.len()];
    loop {
        let mut explorer = Explorer {
            programs,
            rules,
            constant: &constant,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            path: Vec::new(),
            explored: Explored::default(),
        };
        match explorer.visit(memory, &vec![Progress::Running(Vec::new()); programs.len()]) {
            Ok(()) => return Ok(explorer.explored),
            Err(Stop::Broken(story)) => return Err(story),
            Err(Stop::Written(at)) => constant[at] = false,
        }
    }
}

impl Explorer<'_> {
    fn visit(&mut self, memory: &[u64], progress: &[Progress]) -> Result<(), Stop> {
        if !self.seen.insert(self.hasher.hash_one((memory, progress))) {
            return Ok(());
        }
        self.explored.states += 1;
        (self.rules.always)(memory).map_err(|broken| self.story(&broken))?;
        let mut answers = Vec::new();
        for (index, this) in progress.iter().enumerate() {
            match this {
                Progress::Ended(answer) => answers.push(*answer),
                Progress::Running(log) => self.step(memory, progress, index, log)?,
            }
        }
        if answers.len() == progress.len() {
            self.explored.ends += 1;
            (self.rules.finally)(memory, &answers).map_err(|broken| self.story(&broken))?;
        }
        Ok(())
    }

    /// Lets one program take its next step, and goes on from there.
    fn step(&mut self, memory: &[u64], progress: &[Progress], index: usize, log: &[u64]) -> Result<(), Stop> {
        let (mut memory, mut progress) = (memory.to_vec(), progress.to_vec());
        let (answer, happened) = self.run(&mut memory, index, log);
        let Some((access, got)) = happened else {
            progress[index] = Progress::Ended(answer);
            return self.visit(&memory, &progress);
        };
        if let Some(at) = access.written()
            && self.constant[at]
        {
            return Err(Stop::Written(at));
        }
        progress[index] = Progress::Running([log, &[got]].concat());
        self.path.push((index, access, got));
        self.visit(&memory, &progress)?;
        self.path.pop();
        Ok(())
    }

    /// Runs a program up to the access after those in `log`: what it answers, if that was all, and the access.
    fn run(&self, memory: &mut [u64], index: usize, log: &[u64]) -> (u64, Option<(Access, u64)>) {
        let turn = Turn { memory, constant: self.constant, answers: log, at: 0, happened: None };
        let cpu = Cpu(RefCell::new(turn));
        let answer = (self.programs[index])(&cpu);
        (answer, cpu.0.into_inner().happened)
    }

    fn story(&self, broken: &str) -> Stop {
        let steps =
            self.path.iter().map(|(index, access, got)| format!("  {index}: {access:x?} = {got:x}\n"));
        Stop::Broken(format!("{broken}, after\n{}", steps.collect::<String>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn racy() -> Program {
        Box::new(|cpu| {
            let seen = cpu.access(Access::Load(0));
            cpu.access(Access::Store(0, seen + 1))
        })
    }

    fn atomic() -> Program {
        Box::new(|cpu| cpu.access(Access::Add(0, 1)))
    }

    fn two(program: fn() -> Program) -> Result<Explored, String> {
        let finally = |memory: &[u64], _: &[u64]| {
            if memory[0] == 2 { Ok(()) } else { Err(format!("{} of 2 counted", memory[0])) }
        };
        explore(&[0], &[program(), program()], &Rules { always: &|_| Ok(()), finally: &finally })
    }

    #[test]
    fn a_lost_update_is_found_and_told() {
        let story = two(racy).unwrap_err();
        assert!(story.starts_with("1 of 2 counted"), "{story}");
        assert_eq!(story.lines().count(), 5, "the four steps that lead there: {story}");
    }

    #[test]
    fn an_atomic_one_is_not() {
        assert_eq!(two(atomic).unwrap().ends, 1);
    }
}
