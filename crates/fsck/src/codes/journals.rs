//! Findings about journals.

use super::codes;

codes! {
    JOURNAL_FILE_INVALID {
        pass: Start,
        default: Yes,
        condition: "one slot's journal superblock can not be read or is bad while another slot has a good journal",
        repair: "re-create that journal at the largest size and with the union of features",
    }
    JOURNAL_UNKNOWN_FEATURE {
        pass: Start,
        default: No,
        condition: "one slot's journal has a feature bit this tool does not know, other slots' journals do not",
        repair: "re-create the journal with the other journals' features",
    }
    JOURNAL_MISSING_FEATURE {
        pass: Start,
        default: Yes,
        condition: "a journal lacks a feature that another slot's journal has",
        repair: "re-create the journal with the union of features",
    }
    JOURNAL_TOO_SMALL {
        pass: Start,
        default: Yes,
        condition: "a journal has fewer clusters than the largest journal (any size difference counts)",
        repair: "re-create it at the largest size",
    }
}
