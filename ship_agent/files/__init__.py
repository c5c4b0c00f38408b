"""An attendee's files across image changes: the image's content plus what the attendee changed."""
