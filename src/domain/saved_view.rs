//! Filters of the list of requests that an agent gave a name. They hold checked words only, never what somebody searched for: that may be an applicant's reference.

/// Of one agent.
pub(crate) const VIEWS: usize = 20;
/// Characters of a name.
pub(crate) const VIEW_NAME: usize = 60;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedView {
    /// Of one line; no two of an agent are the same.
    pub name: String,
    /// As the list's address has it: `state=awaiting&sort=oldest`.
    pub filter: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewChange {
    /// A view of the same name gets this filter.
    Save(SavedView),
    Rename {
        from: String,
        to: String,
    },
    Delete {
        name: String,
    },
}

/// Why a change is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewRefusal {
    TooMany,
    /// Another view has that name.
    Taken,
    Gone,
}

/// Changes the views of an agent, which stay in the order in which they were made.
pub(crate) fn apply(views: &mut Vec<SavedView>, change: ViewChange) -> Result<(), ViewRefusal> {
    let place = |views: &[SavedView], name: &str| views.iter().position(|view| view.name == name);
    match change {
        ViewChange::Save(view) => match place(views, &view.name) {
            Some(at) => views[at] = view,
            None if views.len() >= VIEWS => return Err(ViewRefusal::TooMany),
            None => views.push(view),
        },
        ViewChange::Rename { from, to } => {
            let at = place(views, &from).ok_or(ViewRefusal::Gone)?;
            if place(views, &to).is_some_and(|other| other != at) {
                return Err(ViewRefusal::Taken);
            }
            views[at].name = to;
        }
        ViewChange::Delete { name } => views.retain(|view| view.name != name),
    }
    Ok(())
}
