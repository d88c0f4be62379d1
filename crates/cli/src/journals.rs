//! Words for dirty journals.

/// Says of which slots the journals are dirty; `None` if none is.
pub fn dirty_journals(slots: &[u16]) -> Option<String> {
    Some(match slots {
        [] => return None,
        [slot] => format!("the journal of slot {slot} is dirty"),
        _ => {
            let slots: Vec<_> = slots.iter().map(u16::to_string).collect();
            format!("the journals of slots {} are dirty", slots.join(", "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_journal_is_dirty_and_several_are() {
        assert_eq!(dirty_journals(&[]), None);
        assert_eq!(dirty_journals(&[3]).unwrap(), "the journal of slot 3 is dirty");
        assert_eq!(dirty_journals(&[0, 2]).unwrap(), "the journals of slots 0, 2 are dirty");
    }
}
