//! Whoever comes without a living link, or too often: one answer for all who know no token, and a line in the log.

use actix_web::{HttpRequest, HttpResponse};

use super::reply::{answer_problem, context};
use crate::domain::transition::Refusal;
use crate::http::error::Problem;
use crate::http::{AppState, access_log, guard};
use crate::workflow::intake::DeadLink;
use crate::workflow::warning::{Limited, Refused, Warning};

/// One page and one status for what is nobody's token, whatever it looks like and however it is asked for. Every such answer counts as a guess.
pub(super) fn unknown(state: &AppState, request: &HttpRequest) -> HttpResponse {
    answer_problem(
        &context(state, request, None),
        request,
        dead(state, request, DeadLink::Unknown),
        None,
    )
}

pub(super) fn dead(state: &AppState, request: &HttpRequest, dead: DeadLink) -> Problem {
    match dead {
        DeadLink::Unknown => {
            access_log::refused(Refused::Link, request, state);
            if !state.gate.may_guess(guard::client_address(request, state)) {
                Warning::Limited(Limited::Links).write();
                return Problem::too_many("Too many addresses that do not exist. Wait a minute.").after(60);
            }
            Problem::not_found("This link does not work any more, or never existed. Ask for a new one.").code("link.unknown")
        }
        DeadLink::Expired => Refusal::LinkExpired.into(),
        DeadLink::Revoked => Refusal::LinkRevoked.into(),
    }
}

pub(super) fn crowded(state: &AppState, request: &HttpRequest) -> HttpResponse {
    Warning::Limited(Limited::Pages).write();
    let problem = Problem::too_many("Too many pages were asked for from your connection. Wait a minute.").after(60);
    answer_problem(&context(state, request, None), request, problem, None)
}
