"""Writers: each takes items from a flow and writes them to one kind of target. They know no reader and no job."""
