/* tales_plots.c - the seven plots of the tales, and the roles they share. */
#include "data/tales.h"

/* clang-format off */
#define TABLE(name, forms) {#name, forms, name, (int)(sizeof name / sizeof *name)}
/* clang-format on */

/* ---- lost and found ---- */

static const tale_entry owning[] = {
    {3, {"The best thing {hero.he} had was {colour.a} {toy}, and {hero.he} {toy.use}."}},
    {2, {"For {hero.his} birthday {elder} had given {hero.him} {colour.a} {toy}, and {hero.he} {toy.use}."}},
    {2, {"Of all things in the world, {hero} loved {hero.his} {colour} {toy} best, and {hero.he} {toy.use}."}},
    {2, {"You could always see {hero.him} from far away, because {hero.he} had {colour.a} {toy} and {toy.use}."}},
};

/* How a thing was lost: the clue, what had happened, and what the owner did from then on. */
static const tale_entry loss[] = {
    {3,
     {"The window was open, and the curtain was moving.", "The wind had carried it there in the night.",
      "closed the window before going to bed"}},
    {3, {"There were small muddy footprints on the floor.", "A dog had carried it there in its mouth.", "kept a bone ready for the dog"}},
    {2, {"A black feather lay on the table.", "A bird had wanted it for its nest.", "left some bread on the roof for the bird"}},
    {2,
     {"The evening before, {hero.he} had come home late and tired.",
      "{^hero.he} had put it down there to tie {hero.his} shoe, and then forgotten it.", "looked back once before walking on"}},
    {2,
     {"It smelled a little of jam where the {toy} should have been.", "{^hero.his} little brother had hidden it there for a game.",
      "asked {hero.his} little brother first"}},
    {1,
     {"Water was running down the road after a night of rain.", "The water had carried it there in the night.",
      "kept it on the highest shelf"}},
};

static const tale_entry missing[] = {
    {3, {"One {weather} morning the {toy} was gone. {loss}"}},
    {2, {"But on {weekday} the {toy} was not in its place. {loss}"}},
    {2, {"Then came a {weather} day when {hero} could not find it anywhere. {loss}"}},
};

static const tale_entry under[] = {{2, {"the bed"}}, {2, {"the table"}}, {1, {"the stairs"}}, {1, {"the carpet"}}};
static const tale_entry behind[] = {{2, {"the door"}}, {1, {"the stove"}}, {1, {"the clock"}}, {1, {"the old piano"}}};
static const tale_entry inside[] = {
    {2, {"the soup pot"}}, {1, {"the bathtub"}}, {1, {"the teapot"}}, {1, {"{hero.his} left boot"}}, {1, {"the flour"}}};

static const tale_entry searching[] = {
    {3, {"{^hero} looked under {under}, behind {behind} and even in {inside}, but it was not there."}},
    {2, {"{^hero} searched the whole house, even {inside}, and found nothing but {junk}."}},
    {2, {"{^hero} sat down on the step and felt {very} {sad}."}},
};

static const tale_entry asking[] = {
    {3, {"Then {hero.he} ran to {friend}, who was carrying {carried}. \"Have you seen my {colour} {toy}?\" {hero.he} asked {how}."}},
    {3,
     {"Soon {friend} came by with {carried}. \"Why do you look so {sad}?\" {friend.he} asked. \"My {colour} {toy} is gone. Have you seen "
      "it?\" {hero} said {how}."}},
    {1, {"\"Have you seen my {colour} {toy}? Whoever finds it gets {prize},\" {hero.he} said to {friend}."}},
};

static const tale_entry answer[] = {
    {2, {"\"Not today,\" said {friend}, \"but I will help you look.\""}},
    {2, {"\"No,\" said {friend}, \"but four eyes see more than two.\""}},
    {2, {"\"Let us think like a {toy},\" said {friend}. \"Where would we go?\""}},
    {1, {"\"Do not worry,\" said {friend}. \"Things like to hide, but not from us.\""}},
};

static const tale_entry looking[] = {
    {3, {"First they looked {other_spot}, but there was only {junk}."}},
    {2, {"They went down to {home.walk} and asked everyone, but nobody had seen it."}},
    {2, {"On the way they met {animal.a}. They asked it too, but it only {animal.sound}."}},
};

static const tale_entry state[] = {
    {2, {"a little wet but not broken"}},
    {2, {"covered with leaves"}},
    {1, {"as {colour} as ever"}},
    {1, {"dusty but safe"}},
};

static const tale_entry finding[] = {
    {3, {"Then they looked {spot}, and there it was, {state}. {loss.how}"}},
    {2, {"At last {friend} shouted, \"Here!\" The {toy} lay {spot}, {state}. {loss.how}"}},
    {1, {"Suddenly {hero} saw something {colour} {spot}. It was the {toy}, {state}. {loss.how}"}},
};

static const tale_entry keeping[] = {
    {2, {"{^hero} hugged {friend}, took the {toy} and {toy.again}. From that day on {hero.he} always {loss.lesson}."}},
    {2, {"{^hero} was {very} {glad}, took the {toy} and {toy.again}. And {hero.he} always {loss.lesson} after that."}},
};

/* ---- sharing and counting ---- */

static const tale_entry getting[] = {
    {3, {"One {weather} morning {elder} gave {hero.him} {had.treats} in a basket."}},
    {2, {"At the market {hero.he} bought {had.treats} with {hero.his} own money."}},
    {2, {"On {weekday} {hero.he} helped {elder} and was paid with {had.treats}."}},
    {1, {"On the doorstep {hero.he} found {had.treats} and a note that said, \"For you.\""}},
};

/* What the owner means to do with the treats, and what becomes of it. */
static const tale_entry plan[] = {
    {2, {"I will eat them all by myself.", "Then they ate the rest together, and {hero} found that things taste better with a friend."}},
    {2,
     {"I will take them to {neighbour}, who is ill.",
      "{^neighbour} looked into the basket. \"Just what I needed,\" {neighbour.he} said, and felt better at once."}},
    {2,
     {"I will keep them for the winter.", "When winter came, there was not much to keep, but {friend} shared everything with {hero.him}."}},
    {1,
     {"I will trade them for {colour.a} {toy}.",
      "It was not enough for {colour.a} {toy}, so {friend} made one, and it was the finest of all."}},
    {1,
     {"I will win a prize with them at the fair.",
      "At the fair {hero} won no prize for the basket, but {hero.he} won {prize} for being kind."}},
};

static const tale_entry planning[] = {
    {3, {"{^hero} counted them twice. \"{^had.treats},\" {hero.he} said. \"{plan}\""}},
    {2, {"{^hero} was {very} {glad} and said, \"{plan}\""}},
};

/* Why the friend has nothing, and how it is remembered. */
static const tale_entry trouble[] = {
    {3, {"There was a hole in my bag, and I lost my lunch", "a hole in a bag"}},
    {2, {"A goat has eaten my lunch", "a hungry goat"}},
    {2, {"I fell into the pond with my lunch", "a cold pond"}},
    {2, {"Nobody remembered my birthday", "a forgotten birthday"}},
    {1, {"My brothers ate everything before I woke up", "some hungry brothers"}},
    {1, {"I gave all my bread to the ducks", "some very fat ducks"}},
};

static const tale_entry meeting[] = {
    {3, {"On the way to {home.walk} {hero.he} met {friend}, who looked {very} {mood}."}},
    {2, {"Then {hero.he} saw {friend}, who sat {spot} and looked {very} {mood}."}},
    {2, {"Just then {friend} came along the road with {carried} and looked {very} {mood}."}},
};

static const tale_entry confiding[] = {
    {3, {"\"What is the matter?\" asked {hero}. \"{trouble},\" {friend} said {how}."}},
    {2, {"\"You look {mood},\" said {hero}. \"{trouble},\" said {friend}."}},
};

static const tale_entry thinking[] = {
    {2, {"a moment"}}, {1, {"a minute"}}, {1, {"three breaths"}}, {1, {"as long as it takes to sneeze"}}, {1, {"a very short time"}},
};

static const tale_entry giving[] = {
    {3, {"{^hero} thought about it for {thinking} and gave {friend.him} {gave.treats}."}},
    {2, {"{^hero} opened the basket. \"Take {gave.treats},\" {hero.he} said."}},
    {2, {"{^hero} did not think long, and soon {friend} had {gave.treats}."}},
};

static const tale_entry remaining[] = {
    {3, {"Now there {left.were} left in the basket."}},
    {2, {"\"How many are left?\" asked {friend}. {^hero} counted. \"{^left},\" {hero.he} said."}},
    {2, {"\"{^had} take away {gave} makes {left},\" said {friend}, who was good at numbers."}},
};

static const tale_entry gratitude[] = {
    {3, {"\"Thank you,\" said {friend}, and {friend.he} was not {mood} any more."}},
    {2, {"\"You are a true friend,\" said {friend} with a full mouth."}},
    {1, {"\"I will never forget this,\" said {friend}, and {friend.he} never did."}},
};

static const tale_entry sharing_moral[] = {
    {3, {"And it all began with {trouble.cause}."}},
    {2, {"Who would have thought that {trouble.cause} could make two people so {glad}?"}},
    {1, {"Since that day they are both grateful for {trouble.cause}."}},
};

/* ---- helping ---- */

/* What is wrong, the tool that mends it, and how it was mended. */
static const tale_entry mishap[] = {
    {3, {"{friend.his} cart was stuck in the mud", "rope", "They tied the rope to the cart and pulled until it came free."}},
    {3,
     {"{friend.his} cat sat on the highest branch of a tree", "ladder",
      "They put the ladder against the tree, and the cat climbed down as if it were a queen."}},
    {2,
     {"{friend.his} roof had a hole as big as a pumpkin", "hammer",
      "They nailed a board over the hole, and {hero} hit only one thumb with the hammer."}},
    {2, {"{friend.his} sheep had run away", "whistle", "They blew the whistle, and one sheep after another came home."}},
    {1,
     {"{friend.his} key had fallen into the well", "hook",
      "They let the hook down into the well and pulled up the key and an angry frog."}},
    {1,
     {"{friend.his} door would not open", "oil can", "They put three drops from the oil can on the door, and it opened without a sound."}},
};

static const tale_entry calling[] = {
    {3, {"{sky.had}, and on {weekday} {hero} heard somebody call. It was {friend}: {mishap}."}},
    {2, {"{sky.had}. On the way to {home.walk} {hero} saw {friend}, who looked {very} {sad}. {^mishap}."}},
};

static const tale_entry excuse[] = {
    {2, {"had no time"}},
    {2, {"was too tired"}},
    {1, {"had new shoes on"}},
    {1, {"did not want the soup to get cold"}},
};

static const tale_entry refusing[] = {
    {3, {"Earlier {elder} had come past, but {elder.he} {excuse}."}},
    {2, {"\"Nobody can help me,\" {friend} said {how}. \"I asked {elder}, but {elder.he} {excuse}.\""}},
};

static const tale_entry offering[] = {
    {3, {"\"Wait here,\" said {hero}. {^hero.he} ran home through the {sky} and came back with the {mishap.tool}."}},
    {2,
     {"\"What we need is a good {mishap.tool},\" said {hero}, and {hero.he} went to get one, although the {sky} had made the road bad."}},
};

static const tale_entry chore[] = {
    {2, {"feed the hens", "fed the hens"}},
    {2, {"carry the water", "carried the water"}},
    {1, {"bring in the wood", "brought in the wood"}},
    {1, {"sweep the yard", "swept the yard"}},
    {1, {"bake the bread", "baked the bread"}},
};

static const tale_entry ill[] = {{2, {"a bad cold"}}, {1, {"a broken arm"}}, {1, {"a sore foot"}}, {1, {"the hiccups"}}};

static const tale_entry returning[] = {
    {3,
     {"A week later {hero} had {illness} and could not {chore}. Who came to the door? It was {friend}, and {friend.he} {chore.done} until "
      "{hero} was well."}},
    {2,
     {"Not long after that, when {sky.over}, {hero} had {illness} and could not {chore}. \"Now it is my turn,\" said {friend}, and "
      "{friend.he} {chore.done}."}},
};

static const tale_entry helping_moral[] = {
    {3, {"So the {mishap.tool} came home, and a friend came with it."}},
    {2, {"A {mishap.tool} can mend one thing, but a friend can mend them all."}},
    {2, {"And the next time {elder} came past, {elder.he} stopped and helped."}},
};

/* ---- a trade ---- */

static const tale_entry wishing[] = {
    {3, {"Next door lived {friend}, who had {other_colour.a} {other_toy}. The more {hero} looked at it, the more {hero.he} wanted it."}},
    {2, {"But {friend} had {other_colour.a} {other_toy}, and {hero} thought that nothing could be finer."}},
    {1, {"One {weather} day {hero} saw {friend} with {other_colour.a} {other_toy} and forgot everything else."}},
};

static const tale_entry dealing[] = {
    {3,
     {"\"Will you give me your {other_toy} for my {toy}?\" asked {hero}. {^friend} looked at the {colour} {toy}. \"Yes,\" {friend.he} said "
      "{how}."}},
    {2, {"\"Let us trade,\" said {hero}. \"My {toy} for your {other_toy}.\" They shook hands {spot}, and it was done."}},
};

static const tale_entry outcome[] = {
    {3,
     {"But that night {hero} could not sleep, because the {colour} {toy} was not there.",
      "In the morning {friend} stood at the door with the {toy} in {friend.his} hands. \"I could not sleep,\" {friend.he} said. \"I missed "
      "my {other_toy}.\" So they traded back, and {hero} {toy.again}."}},
    {2,
     {"At first both were {very} {glad}, but then both were a little {sad}.",
      "So they made a box with two names on it and put the {toy} and the {other_toy} inside. The box lived one week with {hero} and one "
      "week with {friend}."}},
    {2,
     {"From then on {friend} {friend_use}, and {hero} never looked back.",
      "Each of them thought that the other had made the worse trade, and so both were {very} {glad}."}},
    {2,
     {"On the way home {hero} fell, and the {other_toy} broke.",
      "\"Take your {colour} {toy} back,\" said {friend}, \"and we will mend the {other_toy} with glue and string.\" It was never quite so "
      "{other_colour} again, but they loved it more than before."}},
};

static const tale_entry friend_use[] = {
    {1, {"took the {toy} everywhere"}},
    {1, {"showed the {toy} to everyone"}},
    {1, {"kept the {toy} beside the bed"}},
};

static const tale_entry trade_talk[] = {
    {2, {"\"A trade is a trade,\" said {elder}. \"We will see.\""}},
    {2, {"\"Are you sure?\" asked {elder}. \"Quite sure,\" {hero} said {how}."}},
    {1, {"\"In my day,\" said {elder}, \"we traded only buttons.\""}},
};

/* ---- a race ---- */

static const tale_entry challenge[] = {
    {3, {"One {weather} {weekday} {friend} said, \"I bet that I can run faster than you.\" \"We will see,\" {hero} said {how}."}},
    {2, {"Every {season} there was a race, and this time {hero} ran against {friend}, who had very long legs."}},
    {2, {"\"Who is faster, you or {friend}?\" asked {elder}. {^hero} did not know, so they agreed to run a race."}},
};

static const tale_entry start_line[] = {
    {3, {"They would start {spot} and run as far as {home.walk}, and the winner would get {award}."}},
    {2, {"The winner would get {award}. They stood {spot} and looked down the road to {home.walk}."}},
};

static const tale_entry signal[] = {
    {3, {"\"One, two, three, go!\" shouted {elder}."}},
    {2, {"The church bell rang, and off they went."}},
    {1, {"Somewhere {animal.a} {animal.sound}, and they took it for the start."}},
};

/* What happens on the way, how the race ends, and what becomes of the prize. */
static const tale_entry turn[] = {
    {3,
     {"Halfway there {hero} heard a cry: {stray.a} was caught in a fence. {^hero.he} stopped and set it free.", "So {friend} won the race.",
      "But when {friend} heard about the {stray}, {friend.he} put {award.the} into {hero.his} hands. \"You won something better,\" "
      "{friend.he} said."}},
    {3,
     {"Halfway there {friend} was so far ahead that {friend.he} lay down in the grass to rest.",
      "{^friend.he} was still asleep when {hero} won the race.",
      "\"I dreamed that I won,\" said {friend}. {^hero} laughed and gave {friend.him} half of {award.the}, or at least a good look at "
      "it."}},
    {2,
     {"Halfway there both were so tired that they leaned on each other and walked.",
      "Nobody could say who won the race, because they arrived hand in hand.",
      "{^award.the} went to {elder}, who had come all this way to watch."}},
    {2,
     {"Halfway there {hero} lost a shoe, and {friend} went back to help {hero.him} find it.",
      "They found the shoe, but by then they had forgotten to run.",
      "{^award.the} was given to {stray.a}, which had overtaken them both."}},
};

static const tale_entry race_moral[] = {
    {3, {"It is not always the fastest who wins."}},
    {2, {"After that they raced every {weekday}, and nobody counted."}},
    {2, {"\"And who was faster?\" asked {elder}. They looked at each other and laughed."}},
};

/* ---- a day that did not go as planned ---- */

static const tale_entry outing[] = {{3, {"a picnic by the lake", "picnic"}},
                                    {2, {"a party in the garden", "party"}},
                                    {1, {"a circus on the grass", "circus"}},
                                    {1, {"a concert under the trees", "concert"}}};

static const tale_entry preparing[] = {
    {3,
     {"On {weekday} {hero} and {friend} wanted to have {outing}. {^hero} packed {first} {treat.s}, and {friend} brought {more.treats}."}},
    {2,
     {"For a whole week {hero} and {friend} had planned {outing}. There were {first} {treat.s} in one bag, and in the other {friend} had "
      "{more.treats}."}},
};

static const tale_entry adding[] = {
    {3, {"\"That makes {total},\" said {hero}."}},
    {2, {"\"{^first} and {more} makes {total},\" said {friend}."}},
    {2, {"They counted {total.treats} in all."}},
};

/* What the sky did to the plan, and how it looks at the end. */
static const tale_entry spoiling[] = {
    {3, {"But then came the {sky}, and there could be no {outing.no}."}},
    {2, {"But the {sky} came first and spoiled everything."}},
    {2, {"But as soon as they opened the door, in came the {sky}."}},
};

static const tale_entry hideout[] = {
    {3, {"under the kitchen table", "a cave"}},
    {2, {"in the barn", "a castle"}},
    {2, {"in the attic", "a ship"}},
    {1, {"under the bed", "a tent in the desert"}},
    {1, {"in the old wagon of {elder}", "a train"}},
};

static const tale_entry complaining[] = {
    {3, {"{^hero} was {very} {sad}. \"Why today?\" {hero.he} asked {how}."}},
    {2, {"{^hero} looked at the sky. \"That is not fair,\" {hero.he} said."}},
    {1, {"{^hero} said nothing at all, which was worse than crying."}},
};

static const tale_entry idea[] = {
    {3, {"\"I have an idea,\" said {friend}. \"We can have a {outing.no} {hideout}.\""}},
    {2, {"\"We do not need the sun,\" said {friend}. \"It is so cosy {hideout}.\""}},
};

static const tale_entry pretending[] = {
    {3, {"They took a blanket and a candle, and soon it was {hideout.like}."}},
    {2, {"With two chairs and a sheet they turned it into {hideout.like}."}},
};

static const tale_entry guest[] = {
    {3, {"Then {animal.a} came in out of the {sky} and got {given.treats}, so there {rest.were} for the two of them."}},
    {2,
     {"After a while {elder} came by with {carried} and asked for {given.treats}. \"That leaves {rest.treats} for us,\" {friend} said "
      "{how}."}},
};

static const tale_entry clearing[] = {
    {3, {"In the evening, when {sky.over}, neither of them noticed."}},
    {2, {"When {sky.over}, {elder} called them, but nobody wanted to come out."}},
};

static const tale_entry rain_moral[] = {
    {3, {"Now they hope for {sky} every {weekday}."}},
    {2, {"It was the best day of the whole {season}, and the {sky} had made it."}},
    {1, {"Anyone can be {glad} in the sun, but it takes two to be {glad} in the {sky}."}},
};

/* ---- a stray ---- */

static const tale_entry pet_name[] = {{2, {"Button"}}, {2, {"Pepper"}}, {1, {"Biscuit"}}, {1, {"Captain"}}, {1, {"Pickle"}}, {1, {"Moon"}}};

static const tale_entry mark[] = {
    {2, {"one white ear"}}, {2, {"a crooked tail"}}, {1, {"three black spots"}}, {1, {"a little bell around its neck"}},
    {1, {"a torn ear"}},
};

static const tale_entry straying[] = {
    {3, {"{sky.had}, and when {hero} opened the door on {weekday}, {animal.a} sat there. It had {mark}."}},
    {2, {"{sky.had}. On the way home {hero} found {animal.a} {spot}. It had {mark}."}},
};

static const tale_entry naming[] = {
    {3, {"\"I will call you {pet_name},\" {hero} said {how}. The {animal} {animal.sound}."}},
    {2, {"\"You must be hungry,\" said {hero}. {^hero.he} gave it some warm milk and called it {pet_name}."}},
};

static const tale_entry days_with_pet[] = {
    {2, {"Every morning {pet_name} woke {hero.him}, and every evening they walked to {home.walk}."}},
    {2, {"From then on {pet_name} slept {pet_bed} and followed {hero.him} everywhere."}},
    {1, {"Within a week {pet_name} had eaten a shoe, a candle and half of {prize}, but {hero} loved it all the more."}},
};

static const tale_entry pet_bed[] = {
    {2, {"at the end of {hero.his} bed"}}, {1, {"in the soup pot"}}, {1, {"on {hero.his} best coat"}}, {1, {"beside the stove"}}};

static const tale_entry owner[] = {
    {3, {"One day {friend} told {hero.him} that {elder} was looking for {elder.his} {animal}. \"It has {mark},\" {friend} said {how}."}},
    {2,
     {"Then {hero} saw a note {other_spot}. \"Have you seen my {animal}?\" it said. \"It has {mark}.\" It was from {elder}. \"What will "
      "you do?\" asked {friend}."}},
};

/* What the child does, and what comes of it. */
static const tale_entry decision[] = {
    {3,
     {"{^hero} cried a little, and then {hero.he} took {pet_name} back.",
      "\"You are honest,\" said {elder}. \"Come and visit us every {weekday}.\" And {hero} did."}},
    {2,
     {"{^hero} hid {pet_name} for one night, but {hero.he} could not sleep, and in the morning {hero.he} took it back.",
      "\"I was afraid to come,\" {hero.he} said. \"But you came,\" said {elder}, and {elder.he} gave {hero.him} {prize}."}},
    {2,
     {"{^hero} asked {friend} to come along, and together they took {pet_name} back.",
      "But {pet_name} ran straight back to {hero}. {^elder} laughed. \"It has chosen you,\" {elder.he} said. \"Keep it.\""}},
};

static const tale_entry pet_moral[] = {
    {3, {"And whenever the {sky} comes back, {hero} thinks of the day when {pet_name} came."}},
    {2, {"Some friends have two legs, and some, like {pet_name}, have {mark}."}},
    {1, {"To this day the {animal} comes only when {hero} calls it {pet_name}."}},
};

static const tale_entry thanking[] = {
    {3, {"\"Thank you,\" said {friend}. \"If you ever need help, call me.\""}},
    {2, {"\"You did what {elder} could not,\" said {friend}."}},
    {1, {"{^friend} was so {glad} that {friend.he} kissed the {mishap.tool}."}},
};

/* ---- the stories ---- */

static const tale_entry story[] = {
    {3, {"{opening} {owning} {missing} {searching} {asking} {answer} {scene} {looking} {finding} {keeping} {proverb} {closing}"}},
    {3,
     {"{opening} {morning} {getting} {planning} {scene} {meeting} {confiding} {giving} {remaining} {gratitude} {plan.later} "
      "{sharing_moral} {proverb}"}},
    {2, {"{opening} {morning} {scene} {calling} {refusing} {offering} {mishap.fix} {thanking} {returning} {helping_moral} {proverb}"}},
    {2, {"{opening} {owning} {wishing} {scene} {dealing} {trade_talk} {outcome} {outcome.later} {proverb} {closing}"}},
    {2, {"{opening} {morning} {challenge} {start_line} {scene} {signal} {turn} {turn.winner} {turn.later} {race_moral} {proverb}"}},
    {2, {"{opening} {preparing} {adding} {scene} {spoiling} {complaining} {idea} {pretending} {guest} {clearing} {rain_moral} {proverb}"}},
    {2, {"{opening} {morning} {straying} {naming} {days_with_pet} {owner} {scene} {decision} {decision.later} {pet_moral} {proverb}"}},
};

const tale_table tale_plots[] = {
    TABLE(owning, ""),
    TABLE(loss, "how lesson"),
    TABLE(missing, ""),
    TABLE(under, ""),
    TABLE(behind, ""),
    TABLE(inside, ""),
    TABLE(searching, ""),
    TABLE(asking, ""),
    TABLE(answer, ""),
    TABLE(looking, ""),
    TABLE(state, ""),
    TABLE(finding, ""),
    TABLE(keeping, ""),
    TABLE(getting, ""),
    TABLE(plan, "later"),
    TABLE(planning, ""),
    TABLE(trouble, "cause"),
    TABLE(meeting, ""),
    TABLE(confiding, ""),
    TABLE(thinking, ""),
    TABLE(giving, ""),
    TABLE(remaining, ""),
    TABLE(gratitude, ""),
    TABLE(sharing_moral, ""),
    TABLE(mishap, "tool fix"),
    TABLE(calling, ""),
    TABLE(excuse, ""),
    TABLE(refusing, ""),
    TABLE(offering, ""),
    TABLE(chore, "done"),
    TABLE(ill, ""),
    TABLE(returning, ""),
    TABLE(helping_moral, ""),
    TABLE(wishing, ""),
    TABLE(dealing, ""),
    TABLE(outcome, "later"),
    TABLE(friend_use, ""),
    TABLE(trade_talk, ""),
    TABLE(challenge, ""),
    TABLE(start_line, ""),
    TABLE(signal, ""),
    TABLE(turn, "winner later"),
    TABLE(race_moral, ""),
    TABLE(outing, "no"),
    TABLE(preparing, ""),
    TABLE(adding, ""),
    TABLE(spoiling, ""),
    TABLE(hideout, "like"),
    TABLE(complaining, ""),
    TABLE(idea, ""),
    TABLE(pretending, ""),
    TABLE(guest, ""),
    TABLE(clearing, ""),
    TABLE(rain_moral, ""),
    TABLE(pet_name, ""),
    TABLE(mark, ""),
    TABLE(straying, ""),
    TABLE(naming, ""),
    TABLE(days_with_pet, ""),
    TABLE(pet_bed, ""),
    TABLE(owner, ""),
    TABLE(decision, "later"),
    TABLE(pet_moral, ""),
    TABLE(thanking, ""),
    TABLE(story, ""),
    {0},
};
