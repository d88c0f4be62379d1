//! Findings about journals.

use super::codes;

codes! {
    JOURNAL_FILE_INVALID {
        pass: Start,
        default: Yes,
        condition: "the superblock of a journal cannot be read or is bad",
        repair: "recreate the journal, as large as the largest and with the features of the others; what it held is lost",
    }
    JOURNAL_MAGIC {
        pass: Start,
        default: Yes,
        condition: "bits of the magic number of a journal or of the signature of its inode are wrong, or a bit of its kind, its block size or its length, or a field of its inode, and all else says that it is one",
        repair: "correct that before journals are replayed",
        safe: true,
    }
    JOURNAL_UNKNOWN_FEATURE {
        pass: Start,
        default: No,
        condition: "a journal has features that are not known",
        repair: "recreate the journal with the features of the others; what was not replayed of it is lost",
    }
    JOURNAL_MISSING_FEATURE {
        pass: Start,
        default: Yes,
        condition: "a journal lacks a feature that journals of other slots have, other than those a mount sets",
        repair: "recreate the journal with the features of all",
    }
    JOURNAL_TOO_SMALL {
        pass: Start,
        default: Yes,
        condition: "a journal has fewer clusters than the largest one, or less than 4 MiB",
        repair: "make it as large as the largest",
    }
    JOURNAL_DIRTY {
        pass: Start,
        default: Yes,
        condition: "a slot was not unmounted cleanly, so that changes are in its journal that the rest of the volume does not have",
        repair: "replay the journal and recover the slot",
    }
    JOURNAL_ABORTED {
        pass: Start,
        default: Yes,
        condition: "the kernel gave a journal up because of an error, and left its number",
        repair: "clear the number once everything else is repaired",
        safe: true,
    }
    JOURNAL_LOG_DAMAGED {
        pass: Start,
        default: Yes,
        condition: "a transaction in the journal of a slot that has to be recovered is damaged, so that it and all later ones are lost",
        repair: "replay what is before it",
    }
    JOURNAL_LENGTH {
        pass: Start,
        default: Yes,
        condition: "the length of a journal is not that of its file, or the size of its file not that of its clusters",
        repair: "set both to what is allocated",
    }
    JOURNAL_SHARED {
        pass: Start,
        default: Yes,
        condition: "the journals of two slots share clusters",
        repair: "recreate the journal of the later slot",
    }
}
