"""What people and programs see: attendee pages, organizer pages and the admin API."""
