% # A command, of which each word is an element, so that a line breaks between words only.
% for place, word in enumerate(command.split()):
{{" " if place else ""}}<span>{{word}}</span>\\
% end
