VERSION_TEXT = "Guestbook, first edition"
